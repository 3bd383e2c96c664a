"""explain: what the networks attend to, and whether hiding it makes a difference."""

from pipeline.config import load_params
from pipeline.explain.run import explain
from pipeline.spread import processes_here
from pipeline.stage import run


def main() -> None:
    explain(workers=processes_here(load_params().engine))


if __name__ == "__main__":
    run(main)
