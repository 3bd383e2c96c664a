"""explain: what the networks attend to, and whether hiding it makes a difference."""

from pipeline.common.params import load_params
from pipeline.common.stage import run
from pipeline.explain.run import explain
from pipeline.runner.dispatch import processes_here


def main() -> None:
    explain(workers=processes_here(load_params().engine))


if __name__ == "__main__":
    run(main)
