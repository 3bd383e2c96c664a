"""train: ARPGNet and its baselines, every fold with every seed."""

from pipeline.config import load_params
from pipeline.stage import run
from pipeline.train.run import train


def main() -> None:
    train(load_params())


if __name__ == "__main__":
    run(main)
