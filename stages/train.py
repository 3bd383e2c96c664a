"""train: ARPGNet and its baselines, every fold with every seed."""

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.train.run import train


def main() -> None:
    train(load_params())


if __name__ == "__main__":
    run(main)
