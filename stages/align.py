"""Stage `align`: the clip's main face, found, followed and turned upright -> data/faces/."""

from __future__ import annotations

from pathlib import Path

from pipeline.clips import read_manifest
from pipeline.config import load_params
from pipeline.engine import run_clips
from pipeline.faces.align_clip import AlignClip
from pipeline.faces.listed import load_listed
from pipeline.stage import run

FRAMES = Path("data/frames")
OUT = Path("data/faces")


def main() -> None:
    params = load_params()
    pack = load_listed(params.faces.pack, "detector")
    work = AlignClip(FRAMES, pack, params.align, params.faces.device)
    print(f"align: {run_clips(work, read_manifest().clips, OUT, params.engine)}")


if __name__ == "__main__":
    run(main)
