"""A few rendered clips as a csv data set."""

import struct
from pathlib import Path

from arpgnet.pipeline.demo import render_dataset
from helpers.support import TINY

CLASSES = ("anger", "happiness", "surprise")


def render_csv(folder: Path, copies: int = 1) -> dict[str, object]:
    """12 clips of 4 people and their manifest in the folder; the settings of a tiny run on them.

    Args:
        copies: of each clip; a box behind the end, which decoders pass over, tells them apart.
    """
    render_dataset(folder, subjects=4, clips_per_class=1, frame_px=192, fps=12.5, seed=0, workers=2)
    lines = ["path,label,subject"]
    for label in CLASSES:
        for path in sorted((folder / label).glob("*.mp4")):
            for number in range(copies):
                copy = path.with_stem(f"{path.stem}_{number}")
                ending = struct.pack(">I4sQ", 16, b"free", number)
                copy.write_bytes(path.read_bytes() + ending)
                subject = path.stem.split("_")[0]
                lines.append(f"{copy.relative_to(folder).as_posix()},{label},{subject}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return {
        **TINY,
        "dataset.name": "csv",
        "dataset.root": str(folder),
        "dataset.manifest": str(folder / "clips.csv"),
        "engine.workers": 2,
    }
