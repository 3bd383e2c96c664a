"""pretrain: a vision transformer trained on unlabeled crops, where that is switched on.

Reads the manifest, the splits, data/frames and data/faces; writes artifacts/pretrained.
"""

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.pretrain.run import pretrain


def main() -> None:
    print(pretrain(load_params()))


if __name__ == "__main__":
    run(main)
