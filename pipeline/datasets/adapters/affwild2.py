"""`dataset.name: affwild2`: Aff-Wild2's labels, as distributed for the ABAW challenges.

One label per frame: expressions, or, as variants, action units or valence and arousal. The label
files of the years differ in their number of classes, which their first line names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.base import (
    About,
    Expected,
    Images,
    ListedClip,
    Listing,
    Metric,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.clip_targets import (
    AFFECT,
    ClipTargets,
    is_presence,
    read_block,
    read_value,
    target_name,
)
from arpgnet.pipeline.datasets.frame_names import FrameNames
from arpgnet.pipeline.datasets.label_files import lines_of
from arpgnet.pipeline.datasets.layout import first_match, folders_in, is_video, relative, walk

# as the first line of a label file names them; a file of 2020 or 2021 has the first seven
CLASSES = {
    "neutral": "neutral",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happiness",
    "sadness": "sadness",
    "surprise": "surprise",
    "other": "other",
}
PARTS = {
    "train": ("Train_Set", "Training_Set"),
    "val": ("Validation_Set", "Val_Set"),
}
IMAGES = ("cropped_aligned", "cropped_aligned_images")
PERSONS: tuple[Literal["left", "right"], ...] = ("left", "right")
FPS = 30.0
# variant -> how the name of its folder of labels begins
FOLDERS = {"expression": "expr", "action_units": "au", "valence_arousal": "va"}
METRICS: dict[str, Metric] = {"action_units": "f1", "valence_arousal": "ccc"}
# of the ABAW challenges of 2020 and 2021: their score was another
_OLD_CLASSES = 7

ABOUT = About(
    title="Aff-Wild2 (ABAW): expressions; variants: action units, valence and arousal",
    classes=tuple(CLASSES.values()),
    marks=(
        *("cropped_aligned", "EXPR*", "*nnotations*/EXPR*", "*ABAW*/EXPR*", "Expression_Set"),
        *("AU_Detection*", "*ABAW*/AU_*", "VA_Estimation*", "*ABAW*/VA_*"),
    ),
    layout="<annotations>/EXPR_.../Train_Set/<video>.txt, cropped_aligned/<video>/00001.jpg and "
    "(or) <video>.mp4 anywhere",
    recipe=Recipe(
        "official", "trained on Train_Set, every labeled frame of Validation_Set tested", "group"
    ),
    metric="macro_f1",
    license="research, non-commercial, after a signed agreement",
    obtain="https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
    source="the label files' own first lines; Kollias, CVPRW 2022 (ABAW 3), arXiv:2202.10659; "
    "public loaders (first image 00001.jpg is the first label line). Not verified: the number of "
    "videos, and that of two people with one label file named _left or _right the other file is "
    "about the person on the other side",
    expected=Expected(clips=318, splits={"train": 248, "val": 70}),
    variants=tuple(FOLDERS),
)


def list_clips(wanted: Wanted) -> Listing:
    """A clip for every label file; its images with `aligned`, else its video.

    A video's two people have files of their own (`_left`, `_right`) and stay on one side of every
    split. Where several years' labels lie below the root, `dataset.manifest` says which folder.

    Raises:
        WrongRootError: no folder of the variant's labels.
        UserError: several, files whose class orders disagree, a label that is no class, or
            images alone where videos are wanted.
    """
    root = wanted.root
    files = _label_files(_label_folder(wanted))
    variant = _variant(wanted)
    targets = {path: read_targets(path, variant) for path in files} if variant in METRICS else {}
    labels = {} if targets else {path: read_labels(path) for path in files}
    head = _one_order(labels) if labels else ()
    videos = _videos(root, wanted.follow_links)
    images = first_match(root, *IMAGES)
    people = {path.stem for path in files}
    clips = []
    for path in files:
        frames = labels[path][0] if labels else None
        values = [targets[path]] if targets else []
        annotated = any(np.isfinite(one.values).any() for one in values)
        if not annotated and not (frames and frames.classes()):
            continue
        video, person = _person(path.stem, people)
        folder = images / path.stem if images else None
        there = folder is not None and folder.is_dir()
        cut = folder if there and wanted.faces == "aligned" else None
        if there and not cut and video not in videos:
            raise UserError(
                f"affwild2: no video {video}.mp4 or .avi below {root}, only its images: set "
                "faces.source=aligned"
            )
        place = cut or videos.get(video, root / f"{video}.mp4")
        clips.append(
            ListedClip(
                place.relative_to(root).as_posix(),
                None,
                split=files[path],
                group=video,
                where=relative(path, root),
                frames=frames,
                images=Images(fps=FPS, first=1) if cut else None,
                faces="aligned" if cut else "detect",
                person=None if cut else person,
                targets=tuple(values),
            )
        )
    empty = len(files) - len(clips)
    return Listing(
        clips,
        left_out={"videos without a labeled frame": empty} if empty else {},
        remarks=[*_fallen(clips, wanted), *_test_lists(root, FOLDERS[_variant(wanted)])],
        metric="abaw2" if len(head) == _OLD_CLASSES else METRICS.get(_variant(wanted)),
    )


def _label_files(labels: Path) -> dict[Path, str]:
    """Each label file, and train or val."""
    files: dict[Path, str] = {}
    for split, names in PARTS.items():
        part = first_match(labels, *names)
        found = sorted(part.glob("*.txt")) if part else []
        if not found:
            raise UserError(f"affwild2: no label file in {labels.name}/{names[0]}")
        files |= dict.fromkeys(found, split)
    return files


def _one_order(labels: Mapping[Path, tuple[FrameNames, tuple[str, ...]]]) -> tuple[str, ...]:
    """The class order that all files name."""
    (first, (_, head)), *others = labels.items()
    for path, (_, other) in others:
        if other != head:
            raise UserError(
                f"class orders disagree: {first.name} says {','.join(head)}, "
                f"{path.name} says {','.join(other)}"
            )
    return head


def _fallen(clips: list[ListedClip], wanted: Wanted) -> list[str]:
    count = sum(clip.images is None for clip in clips)
    if wanted.faces != "aligned" or not count:
        return []
    return [f"{plural(count, 'video')} without cropped faces: faces are detected instead"]


def read_labels(path: Path) -> tuple[FrameNames, tuple[str, ...]]:
    """A label file: the classes' names, then a number per frame, -1 for none.

    Returns:
        the frames' classes, and the file's names in the common vocabulary, in its order.

    Raises:
        UserError: the first line names other classes, or a line is no number of one of them.
    """
    lines = lines_of(path)
    head = [name.strip().lower() for name in (lines[0] if lines else "").split(",")]
    unknown = [name for name in head if name not in CLASSES]
    if unknown:
        raise UserError(
            f"line 1 of {path.name}: '{unknown[0]}' is not a class of Aff-Wild2 "
            f"({', '.join(CLASSES)}); the first line must name the classes"
        )
    try:
        codes = np.array(lines[1:], np.int16)
    except (ValueError, OverflowError):
        row = next(row for row, line in enumerate(lines[1:], 2) if not _is_number(line))
        raise UserError(f"line {row} of {path.name}: '{lines[row - 1]}' is not a number") from None
    wrong = np.flatnonzero((codes < -1) | (codes >= len(head)))
    if len(wrong):
        raise UserError(
            f"line {wrong[0] + 2} of {path.name}: unknown class {codes[wrong[0]]}; known: -1, "
            f"0 ({head[0]}) to {len(head) - 1} ({head[-1]})"
        )
    names = tuple(CLASSES[name] for name in head)
    return FrameNames(names, codes), names


def read_targets(path: Path, variant: str) -> ClipTargets:
    """A label file of action units or affect: the columns' names, then a line per frame; -1 of
    units and -5 of affect are not annotated.

    Raises:
        UserError: the first line does not name the variant's targets, or a line is no such values.
    """
    lines = lines_of(path)
    head = lines[0] if lines else ""
    names = [target_name(cell) for cell in head.split(",")]
    units = variant == "action_units"
    good = all(name and (is_presence(name) if units else name in AFFECT) for name in names)
    if not good or len(set(names)) < len(names):
        wanted = "action units (AU1,AU2,...)" if units else "valence,arousal"
        raise UserError(
            f"line 1 of {path.name} must name {wanted}, each once (found: {head[:40] or 'nothing'})"
        )
    known = [str(name) for name in names]
    values = read_block(known, lines[1:])
    if values is None:
        values = np.array(
            [_values(path, row, known, line) for row, line in enumerate(lines[1:], 2)]
        )
    return ClipTargets(tuple(known), values.astype(np.float32), np.arange(len(values)))


def _values(path: Path, row: int, names: list[str], line: str) -> list[float]:
    cells = line.split(",")
    where = f"line {row} of {path.name}"
    if len(cells) != len(names):
        raise UserError(
            f"{where}: {plural(len(cells), 'value')}, the first line names {len(names)}"
        )
    return [read_value(name, cell, where) for name, cell in zip(names, cells, strict=True)]


def _variant(wanted: Wanted) -> str:
    return wanted.variant or "expression"


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) < 5


def _label_folder(wanted: Wanted) -> Path:
    root, prefix = wanted.root, FOLDERS[_variant(wanted)]
    if wanted.manifest:
        named = root / wanted.manifest
        if not named.is_dir():
            raise UserError(f"dataset.manifest: no folder {named} of Aff-Wild2's labels")
        found = [path for path in (named, *_label_folders(named, prefix)) if _has_parts(path)]
    else:
        found = list(_label_folders(root, prefix))
    if not found:
        other = " or Expression_Set" if prefix == "expr" else ""
        raise WrongRootError(f"folder {prefix.upper()}_...{other} with Train_Set/<video>.txt")
    if len(found) > 1:
        several = ", ".join(relative(path, root) for path in found[:4])
        raise UserError(
            f"affwild2: labels of several years ({several}): set dataset.manifest to one of them"
        )
    return found[0]


def _label_folders(root: Path, prefix: str, depth: int = 3) -> Iterator[Path]:
    """Folders of labels, at most three levels down; images are not looked through."""
    for folder in folders_in(root):
        name = folder.name.lower()
        if name.startswith(prefix) and _has_parts(folder):
            yield folder
        elif depth > 1 and name not in IMAGES:
            yield from _label_folders(folder, prefix, depth - 1)


def _has_parts(folder: Path) -> bool:
    return first_match(folder, *PARTS["train"]) is not None


def _videos(root: Path, follow_links: bool) -> dict[str, Path]:
    """Every video below the root by its stem; the folders of images are not looked through."""
    found: dict[str, Path] = {}
    for here, folders, names in walk(root, follow_links):
        folders[:] = [name for name in folders if name.lower() not in IMAGES]
        for name in names:
            if is_video(here / name):
                found.setdefault((here / name).stem, here / name)
    return found


def _person(stem: str, people: set[str]) -> tuple[str, Literal["left", "right"] | None]:
    """The video that a label file is about, and which of its two people."""
    for side, other in zip(PERSONS, PERSONS[::-1], strict=True):
        if stem.endswith(f"_{side}"):
            return stem.removesuffix(f"_{side}"), side
        if f"{stem}_{side}" in people and f"{stem}_{other}" not in people:
            return stem, other
    return stem, None


def _test_lists(root: Path, prefix: str) -> list[str]:
    """How many videos the lists of test videos name."""
    remarks = []
    for place in (root, *folders_in(root)):
        if place.name.lower() in IMAGES:
            continue
        for path in sorted(place.glob("*test_set_release*.txt")):
            if re.search(rf"(^|_){prefix}", path.name.lower()):
                count = len([line for line in lines_of(path) if line])
                remarks.append(f"{plural(count, 'video')} of {path.name} without public labels")
    return remarks
