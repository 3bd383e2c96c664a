"""Stage `align`: the clip's main face, found, followed and turned upright -> data/faces/."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.align.clip import AlignClip
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.networks.pretrained import resized
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import read_manifest

FRAMES = Path("data/frames")
OUTPUT = Path("data/faces")


def main() -> None:
    params = load_params()
    pack = load_listed(params.faces.pack, "detector")
    sized = resized(pack, params.pretrain)
    work = AlignClip(FRAMES, sized, params.align, params.faces.device)
    print(f"align: {run_clips(work, read_manifest().clips, OUTPUT, params.engine)}")


if __name__ == "__main__":
    run(main)
