"""finetune: the appearance network tuned on labeled stills, where that is switched on.

Reads data/manifest.parquet, data/frames and data/faces (what they show is not learned from), writes
artifacts/backbone.
"""

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.finetune.run import finetune


def main() -> None:
    print(finetune(load_params()))


if __name__ == "__main__":
    run(main)
