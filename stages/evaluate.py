"""evaluate: metrics with intervals, beside their baselines."""

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.evaluate.run import evaluate


def main() -> None:
    evaluate(load_params().evaluate)


if __name__ == "__main__":
    run(main)
