"""evaluate: metrics with intervals, beside their baselines."""

from pipeline.config import load_params
from pipeline.evaluate.run import evaluate
from pipeline.stage import run


def main() -> None:
    evaluate(load_params().evaluate)


if __name__ == "__main__":
    run(main)
