"""`dataset.name: ferv39k`: FERV39k, 22 scenes of 4 kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.base import (
    About,
    Expected,
    Images,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.label_files import rows_of
from arpgnet.pipeline.datasets.layout import (
    class_of,
    first_match,
    folders_in,
    named_folders,
    unused_files,
)

CLASSES = {
    "Happy": "happiness",
    "Sad": "sadness",
    "Neutral": "neutral",
    "Angry": "anger",
    "Surprise": "surprise",
    "Disgust": "disgust",
    "Fear": "fear",
}
CROPS = "2_ClipsforFaceCrop"
SCENES = "3_ClipsforScenImages"

ABOUT = About(
    title="FERV39k",
    classes=tuple(CLASSES.values()),
    marks=(
        "4_setups/All_scenes/train_All.csv",
        "*/4_setups/All_scenes/train_All.csv",
        "All_scenes/train_All.csv",
        CROPS,
    ),
    layout=f"4_setups/All_scenes/train_All.csv and test_All.csv, and {CROPS}/<scene>/<class>/"
    "<clip>/*.jpg",
    recipe=Recipe("official", "the official train and test part of all scenes", group_by="clip"),
    metric="war",
    license="research, non-commercial",
    obtain="password on request by university staff: https://github.com/wangyanckxx/FERV39k",
    source="github.com/wangyanckxx/FERV39k (the set's page); github.com/sunlicai/MAE-DFER "
    "preprocess/ferv39k.py (lists, label order, crops), github.com/zengqunzhao/DFER-CLIP "
    "annotation/ (clip names, parts); arXiv 2203.09463 (38,935 clips); not verified: the frame "
    f"rate, the layout below {SCENES} beyond that clips have the same names there; neither the "
    "video nor the person of a clip is published",
    expected=Expected(clips=38935, splits={"train": 31088, "test": 7847}),
)


def list_clips(wanted: Wanted) -> Listing:
    """The clips of the two official lists: whole images where they lie there, else the crops.

    With `faces.source: aligned` the crops come first.

    Raises:
        WrongRootError: the lists, or the images of all clips, are missing.
        UserError: a list is malformed, names an unknown class, or has a clip of the other.
    """
    root = wanted.root
    lists = split_lists(root)
    order = (CROPS, SCENES) if wanted.faces == "aligned" else (SCENES, CROPS)
    bases = [base for name in order if (base := _base(root, name))]
    if not bases:
        raise WrongRootError(f"{CROPS}/<scene>/<class>/<clip>")
    clips = []
    listed: dict[str, str] = {}
    for split, path in lists.items():
        for where, name, label in _rows(path):
            if name in listed:
                raise UserError(f"{where}: {name} is in {listed[name]} too")
            listed[name] = where
            clips.append(_clip(wanted, bases, name, label, split, where))
    on_disk = {base: _names(base) for base in bases}
    extra = set().union(*on_disk.values()) - listed.keys()
    used = [
        *(base / name for base, names in on_disk.items() for name in names),
        *lists.values(),
    ]
    return Listing(
        clips,
        unused_files(
            root, (path.relative_to(root).as_posix() for path in used), wanted.follow_links
        ),
        {"in neither official list": len(extra)} if extra else {},
    )


def split_lists(root: Path) -> dict[str, Path]:
    """`train_All.csv` and `test_All.csv`.

    Raises:
        WrongRootError: one of them is missing.
    """
    places = [*named_folders(root, "All_scenes", "EmoLabel"), root]
    found = {}
    for split in ("train", "test"):
        name = f"{split}_All.csv"
        path = next((path for place in places if (path := first_match(place, name))), None)
        if path is None:
            raise WrongRootError(f"4_setups/All_scenes/{name}")
        found[split] = path
    return found


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where a row stands, its clip as `<scene>/<class>/<clip>`, and the class."""
    for where, row in rows_of(path, ("clip", "label"), header=False, delimiter=" "):
        yield where, row["clip"].strip("/"), class_of(row["label"], CLASSES, where)


def _clip(
    wanted: Wanted, bases: list[Path], name: str, label: str, split: str, where: str
) -> ListedClip:
    """The clip in the first form that has it."""
    paths = [f"{base.relative_to(wanted.root).as_posix()}/{name}" for base in bases]
    there = [(wanted.root / path).is_dir() for path in paths]
    chosen = there.index(True) if any(there) else 0
    crops = bases[chosen].name.lower() == CROPS.lower()
    return ListedClip(
        paths[chosen],
        label,
        split=split,
        where=where,
        images=Images(fps=wanted.fps),
        faces="aligned" if crops and wanted.faces == "aligned" else "detect",
    )


def _base(root: Path, name: str) -> Path | None:
    """The folder of a form; unpacking often puts it into one of its own name."""
    folders = named_folders(root, name, depth=3)
    return max(folders, key=lambda path: len(path.parts), default=None)


def _names(base: Path) -> set[str]:
    """The clips that lie in a form, as the lists name them."""
    return {
        clip.relative_to(base).as_posix()
        for scene in folders_in(base)
        for label in folders_in(scene)
        for clip in folders_in(label)
    }
