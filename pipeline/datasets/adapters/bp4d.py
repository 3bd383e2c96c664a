"""`dataset.name: bp4d`: Binghamton-Pittsburgh 4D Spontaneous Expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from arpgnet.pipeline.datasets.clip_targets import (
    ClipTargets,
    FrameValues,
    read_value,
    target_name,
)
from arpgnet.pipeline.datasets.label_files import cells_of
from arpgnet.pipeline.datasets.layout import first_match, folders_in, relative
from arpgnet.pipeline.datasets.unit_files import read_intensities

# those of the usual protocol, and those with intensities
UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
STRENGTHS = (6, 10, 12, 14, 17)
FPS = 25.0
# the partition that JAA-Net, ME-GraphAU and others share
PARTS = (
    "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
    "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
    "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
)

ABOUT = About(
    title="Binghamton-Pittsburgh 4D Spontaneous Expression (BP4D)",
    classes=(),
    marks=("AUCoding/AU_OCC", "AU_OCC", "F001/T1"),
    layout="AUCoding/AU_OCC/F001_T1.csv and F001/T1/2440.jpg",
    recipe=Recipe("kfold", "3 folds of subjects, the usual parts P1, P2, P3", folds=3),
    metric="f1",
    license="research, non-commercial, after a signed agreement",
    obtain="http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    source="public loaders (file names, code 9, parts of the 3 folds); Zhang et al., Image and "
    "Vision Computing 2014 (41 people, 8 tasks); not verified: the license's words",
    expected=Expected(clips=328, subjects=41),
)


@dataclass(frozen=True)
class Protocol:
    """What differs between BP4D and BP4D+, which code units in files of the same form.

    Attributes:
        name: of `dataset.name`.
        parts: the subjects that each fold tests.
        tasks: that are coded; empty: any.
        from_first: whether codes count frames from 1, the first image, be it 000.jpg or 001.jpg;
            else a code's frame is the number in an image's name.
        other: which set it may be where a subject or task is not of this one.
    """

    name: str
    parts: Sequence[str]
    tasks: Sequence[str] = ()
    from_first: bool = False
    other: str = ""


BP4D = Protocol("bp4d", PARTS, other="BP4D+ (dataset.name: bp4dplus)")


def list_clips(wanted: Wanted) -> Listing:
    """A clip of each subject's task, with its 12 units in every coded frame, and the intensities
    of five. Fold 0 tests part P1, fold 1 P2, fold 2 P3.

    Raises:
        WrongRootError: there is no folder of codes, or no file in it.
        UserError: a task has no images, or a file is not as documented.
    """
    return Listing(list_tasks(wanted, BP4D), remarks=["fold 0 tests part P1, fold 1 P2, fold 2 P3"])


def list_tasks(wanted: Wanted, protocol: Protocol) -> list[ListedClip]:
    """List the clips of either set; see `list_clips`."""
    root = wanted.root
    codes = first_match(root, "AUCoding/AU_OCC", "AU_OCC")
    if codes is None:
        raise WrongRootError("folder AUCoding/AU_OCC with F001_T1.csv")
    strengths = first_match(root, "AUCoding/AU_INT", "AU_INT")
    folders = _images(root)
    fold_of = {name: fold for fold, part in enumerate(protocol.parts) for name in part.split()}
    clips = []
    for path in sorted(codes.glob("*.csv")):
        found = re.fullmatch(r"([FM]\d+)_(T\d+)", path.stem, re.IGNORECASE)
        if not found:
            continue
        subject, task = found[1].upper(), found[2].upper()
        _check(path, subject, task, fold_of, folders, protocol)
        folder = folders[subject, task]
        first = 1 if protocol.from_first else 0
        targets = [read_presence(path, first)]
        if strengths is not None:
            targets += _intensities(strengths, subject, task, first)
        clips.append(
            ListedClip(
                relative(folder, root),
                None,
                subject=subject,
                fold=fold_of[subject],
                where=relative(path, root),
                # names are numbers of frames, with gaps and any padding
                images=Images(fps=FPS, first=0 if _starts_at_0(folder) else first),
                targets=tuple(targets),
            )
        )
    if not clips:
        raise WrongRootError("file AUCoding/AU_OCC/F001_T1.csv")
    return clips


def read_presence(path: Path, first: int = 0) -> ClipTargets:
    """Read a task's codes: a header of units' numbers, and a line for each coded frame.

    Columns stand in any order, their names with or without quotes and `AU`.

    Raises:
        UserError: a unit of the protocol is absent or named twice, or a cell is none of 0, 1, 9.
    """
    rows = cells_of(path)
    _, header = next(rows, (1, []))
    # the first column is the frame, whatever its name: 0, 1, or none
    units = [_unit(cell) for cell in header[1:]]
    absent = [unit for unit in UNITS if units.count(unit) != 1]
    if absent:
        found = "no column" if absent[0] not in units else "two columns"
        raise UserError(
            f"line 1 of {path.name} has {found} of unit {absent[0]}; it must name units by their "
            f"numbers (found: {','.join(header[:6]) or 'nothing'})"
        )
    places = [units.index(unit) + 1 for unit in UNITS]
    names = [f"au_{unit}" for unit in UNITS]
    table = FrameValues(names, first)
    for number, cells in rows:
        where = f"line {number} of {path.name}"
        if len(cells) < len(header):
            raise UserError(f"{where}: {len(cells)} fields where the header has {len(header)}")
        values = [
            read_value(name, cells[place], where) for name, place in zip(names, places, strict=True)
        ]
        table.add(cells[0], values, where)
    return table.targets(path.name)


def _check(
    path: Path,
    subject: str,
    task: str,
    fold_of: dict[str, int],
    folders: dict[tuple[str, str], Path],
    protocol: Protocol,
) -> None:
    hint = f"; is it {protocol.other}?"
    if subject not in fold_of:
        raise UserError(
            f"{protocol.name}: {subject} is in none of the {len(protocol.parts)} parts of the "
            f"usual folds{hint}"
        )
    if protocol.tasks and task not in protocol.tasks:
        raise UserError(
            f"{protocol.name}: {path.name} codes {task}, but only {', '.join(protocol.tasks)} "
            f"are coded{hint}"
        )
    if (subject, task) not in folders:
        raise UserError(
            f"{protocol.name}: {path.name} has codes, but there is no folder {subject}/{task} "
            "with its images (are the archives unpacked?)"
        )


def _intensities(folder: Path, subject: str, task: str, first: int) -> Iterator[ClipTargets]:
    """Yield the units whose intensities are coded for a task."""
    for unit in STRENGTHS:
        path = folder / f"AU{unit:02d}" / f"{subject}_{task}_AU{unit:02d}.csv"
        if path.is_file():
            yield read_intensities(path, unit, first)


def _unit(column: str) -> int | None:
    """Return the number of the unit that a column is about."""
    text = column.strip(" \t\"'`")
    if text.isdecimal():
        return int(text)
    name = target_name(text) or ""
    return int(name.removeprefix("au_")) if re.fullmatch(r"au_\d+", name) else None


def _starts_at_0(folder: Path) -> bool:
    """Tell whether a folder has an image 0, of any padding."""
    return any((folder / f"{'0' * digits}.jpg").is_file() for digits in range(1, 7))


def _images(root: Path) -> dict[tuple[str, str], Path]:
    """Return the folders of images by subject and task, in the root or one level below."""
    found: dict[tuple[str, str], Path] = {}
    for folder in [
        *folders_in(root),
        *(one for top in folders_in(root) for one in folders_in(top)),
    ]:
        if re.fullmatch(r"[FM]\d{3}", folder.name, re.IGNORECASE):
            for task in folders_in(folder):
                if re.fullmatch(r"T\d+", task.name, re.IGNORECASE):
                    found.setdefault((folder.name.upper(), task.name.upper()), task)
    return found
