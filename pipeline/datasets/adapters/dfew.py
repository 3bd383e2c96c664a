"""`dataset.name: dfew`: Dynamic Facial Expression in-the-Wild, the single-labeled part."""

from __future__ import annotations

import re
from pathlib import Path

from arpgnet.pipeline.datasets.base import About, Expected, Listing, Recipe, Wanted, WrongRootError
from arpgnet.pipeline.datasets.label_files import rows_of
from arpgnet.pipeline.datasets.layout import class_of, named_folders
from arpgnet.pipeline.datasets.numbered import Form, find_forms, listing, official_folds, rows_in

CLASSES = {
    "1": "happiness",
    "2": "sadness",
    "3": "neutral",
    "4": "anger",
    "5": "surprise",
    "6": "disgust",
    "7": "fear",
}
FOLDS = range(1, 6)

# whole videos first; the crops' frames before those resampled to 16
FORMS = (
    Form(("original",), "{}.mp4"),
    Form(("clip_224x224_avi",), "{:05d}.avi", crops=True),
    Form(
        ("clip_224x224", "jpg_256", "DFEW_Frame_Face"),
        "{:05d}",
        image_sequence=True,
        crops=True,
    ),
    Form(("clip_224x224_16f", "clip_224x16f"), "{:05d}", image_sequence=True, crops=True),
)

ABOUT = About(
    title="DFEW: Dynamic Facial Expression in-the-Wild",
    classes=tuple(CLASSES.values()),
    marks=("EmoLabel_DataSplit", "Clip/clip_224x224*"),
    layout="EmoLabel_DataSplit/{train,test}(single-labeled)/set_1.csv to set_5.csv, and "
    "Clip/original/1.mp4 or Clip/clip_224x224/00001/*.jpg",
    recipe=Recipe("kfold", "the 5 official folds, single-labeled clips", group_by="clip"),
    metric="war",
    license="research and education, non-commercial",
    obtain="on request: https://dfew-dataset.github.io",
    source="the release's README (layout, labels, counts); github.com/sunlicai/MAE-DFER "
    "preprocess/dfew.py and github.com/zengqunzhao/DFER-CLIP annotation/ (columns, 1-based "
    "labels, names); not verified: frame rate of the crops, folders between Clip/original and "
    "the videos (any are accepted); neither the film nor the person of a clip is published",
    expected=Expected(clips=11697),
)


def list_clips(wanted: Wanted) -> Listing:
    """The clips of the official lists: originals, or (`faces.source: aligned`) the 224 x 224 crops.

    Raises:
        WrongRootError: the lists of a fold, or all clips, are missing.
        UserError: a list is malformed, names an unknown class, or disagrees with another.
    """
    lists = split_lists(wanted.root)
    entries = official_folds(
        {fold: (_rows(lists["train", fold]), _rows(lists["test", fold])) for fold in FOLDS}
    )
    forms = find_forms(wanted, FORMS)
    if not any(one.clips for one in forms):
        raise WrongRootError("clip below Clip/original, Clip/clip_224x224 or clip_224x224_16f")
    return listing(
        wanted,
        entries,
        forms,
        lists.values(),
        "in no official list (no single label, or the authors found no face)",
    )


def split_lists(root: Path) -> dict[tuple[str, int], Path]:
    """The list of each side and fold: `set_<fold>.csv` in a folder whose name begins with the side.

    Raises:
        WrongRootError: one is missing.
    """
    base = next(iter(named_folders(root, "EmoLabel_DataSplit", depth=2)), root)
    found: dict[tuple[str, int], Path] = {}
    for path in sorted((*base.glob("*/set_*.csv"), *base.glob("*/*/set_*.csv"))):
        begins = re.match("train|test", path.parent.name.lower())
        number = path.stem.removeprefix("set_")
        if begins and number.isdecimal():
            found.setdefault((begins[0], int(number)), path)
    for fold in FOLDS:
        for side in ("train", "test"):
            if (side, fold) not in found:
                raise WrongRootError(f"EmoLabel_DataSplit/{side}(single-labeled)/set_{fold}.csv")
    return {(side, fold): found[side, fold] for fold in FOLDS for side in ("train", "test")}


def _rows(path: Path) -> list[tuple[str, int, str]]:
    rows = rows_of(path, ("video_name", "label"))
    return list(
        rows_in(path, rows, "video_name", lambda code, where: class_of(code, CLASSES, where))
    )
