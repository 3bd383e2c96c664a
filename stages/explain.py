"""explain: what the networks attend to, and whether hiding it makes a difference."""

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.explain.run import explain
from arpgnet.pipeline.runner.dispatch import processes_here


def main() -> None:
    explain(workers=processes_here(load_params().engine))


if __name__ == "__main__":
    run(main)
