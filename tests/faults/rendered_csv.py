"""A few rendered clips as a csv data set."""

from pathlib import Path

from support import TINY

from pipeline.demo import render_dataset

CLASSES = ("anger", "happiness", "surprise")


def render_csv(folder: Path) -> dict[str, object]:
    """12 clips of 4 people and their manifest in the folder; the settings of a tiny run on them."""
    render_dataset(folder, subjects=4, clips_per_class=1, frame_px=192, fps=12.5, seed=0, workers=2)
    lines = ["path,label,subject"]
    for label in CLASSES:
        lines += [
            f"{path.relative_to(folder).as_posix()},{label},{path.stem.split('_')[0]}"
            for path in sorted((folder / label).glob("*.mp4"))
        ]
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return {
        **TINY,
        "dataset.name": "csv",
        "dataset.root": str(folder),
        "dataset.manifest": str(folder / "clips.csv"),
        "engine.workers": 2,
    }
