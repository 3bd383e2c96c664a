"""Stage `decode`: sampled frames of every clip -> data/frames/."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.datasets.corpora import dataset_roots
from arpgnet.pipeline.decode.clip import DecodeClip
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import read_manifest

OUTPUT = Path("data/frames")


def main() -> None:
    params = load_params()
    work = DecodeClip(
        dataset_roots(params.dataset), params.decode, follow_links=params.dataset.follow_links
    )
    print(f"decode: {run_clips(work, read_manifest().clips, OUTPUT, params.engine)}")


if __name__ == "__main__":
    run(main)
