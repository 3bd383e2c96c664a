"""Stage `decode`: sampled frames of every clip -> data/frames/."""

from __future__ import annotations

from pathlib import Path

from pipeline.clips import read_manifest
from pipeline.config import load_params
from pipeline.datasets.corpora import dataset_roots
from pipeline.engine import run_clips
from pipeline.stage import run
from pipeline.video.decode_clip import DecodeClip

OUT = Path("data/frames")


def main() -> None:
    params = load_params()
    work = DecodeClip(dataset_roots(params.dataset), params.decode)
    print(f"decode: {run_clips(work, read_manifest().clips, OUT, params.engine)}")


if __name__ == "__main__":
    run(main)
