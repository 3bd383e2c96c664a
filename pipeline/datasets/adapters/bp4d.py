"""`dataset.name: bp4d`: Binghamton-Pittsburgh 4D Spontaneous Expression."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

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
from arpgnet.pipeline.datasets.clip_targets import INTENSITY, ClipTargets, read_value
from arpgnet.pipeline.datasets.label_files import text_of
from arpgnet.pipeline.datasets.layout import first_match, folders_in, relative

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


def list_clips(wanted: Wanted) -> Listing:
    """A clip of each subject's task, with its 12 units in every coded frame, and the intensities
    of five. Fold 0 tests part P1, fold 1 P2, fold 2 P3.

    Raises:
        WrongRootError: there is no folder of codes, or no file in it.
        UserError: a task has no images, or a file is not as documented.
    """
    root = wanted.root
    codes = first_match(root, "AUCoding/AU_OCC", "AU_OCC")
    if codes is None:
        raise WrongRootError("folder AUCoding/AU_OCC with F001_T1.csv")
    strengths = first_match(root, "AUCoding/AU_INT", "AU_INT")
    folders = _images(root)
    clips = []
    for path in sorted(codes.glob("*.csv")):
        found = re.fullmatch(r"([FM]\d+)_(T\d+)", path.stem, re.IGNORECASE)
        if not found:
            continue
        subject, task = found[1].upper(), found[2].upper()
        fold = next((n for n, part in enumerate(PARTS) if subject in part.split()), None)
        if fold is None:
            raise UserError(f"bp4d: {subject} is in none of the 3 parts of the usual folds")
        if (subject, task) not in folders:
            raise UserError(f"bp4d: {path.name} has codes, but there is no folder {subject}/{task}")
        targets = [read_presence(path)]
        if strengths is not None:
            targets += _intensities(strengths, subject, task)
        clips.append(
            ListedClip(
                relative(folders[subject, task], root),
                None,
                subject=subject,
                fold=fold,
                where=relative(path, root),
                # names are numbers of frames, with gaps and any padding
                images=Images(fps=FPS, first=0),
                targets=tuple(targets),
            )
        )
    if not clips:
        raise WrongRootError("file AUCoding/AU_OCC/F001_T1.csv")
    return Listing(clips, remarks=["fold 0 tests part P1, fold 1 P2, fold 2 P3"])


def read_presence(path: Path) -> ClipTargets:
    """Read a task's codes: a header of units' numbers, and a line for each coded frame.

    Raises:
        UserError: a unit of the protocol is absent, or a cell is none of 0, 1 and 9.
    """
    rows = _rows(path)
    _, header = next(rows, (1, []))
    places = {int(cell): n for n, cell in enumerate(header) if n and cell.strip().isdecimal()}
    absent = [unit for unit in UNITS if unit not in places]
    if absent:
        raise UserError(
            f"line 1 of {path.name} has no column {absent[0]}: a header of unit numbers"
        )
    frames, values = [], []
    for number, cells in rows:
        where = f"line {number} of {path.name}"
        if len(cells) < len(header):
            raise UserError(f"{where}: {len(cells)} fields where the header has {len(header)}")
        frames.append(_frame(cells[0], where))
        values.append([read_value(f"au_{unit}", cells[places[unit]], where) for unit in UNITS])
    return _targets([f"au_{unit}" for unit in UNITS], frames, values, path)


def _intensities(folder: Path, subject: str, task: str) -> Iterator[ClipTargets]:
    """Yield the units whose intensities are coded for a task."""
    for unit in STRENGTHS:
        path = folder / f"AU{unit:02d}" / f"{subject}_{task}_AU{unit:02d}.csv"
        if not path.is_file():
            continue
        name, frames, values = f"au_{unit}{INTENSITY}", [], []
        for number, cells in _rows(path):
            where = f"line {number} of {path.name}"
            if len(cells) != 2:
                raise UserError(f"{where}: {len(cells)} fields, not frame,intensity")
            frames.append(_frame(cells[0], where))
            values.append([read_value(name, cells[1], where)])
        yield _targets([name], frames, values, path)


def _targets(
    names: list[str], frames: list[int], values: list[list[float]], path: Path
) -> ClipTargets:
    if not frames:
        raise UserError(f"bp4d: {path.name} has no frames")
    order = np.argsort(frames, kind="stable")
    numbers = np.array(frames)[order]
    if (np.diff(numbers) == 0).any():
        twice = numbers[:-1][np.diff(numbers) == 0][0]
        raise UserError(f"bp4d: {path.name} has frame {twice} twice")
    return ClipTargets(tuple(names), np.array(values, np.float32)[order], numbers)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text_of(path), newline=""), skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _frame(text: str, where: str) -> int:
    if not text.strip().isdecimal():
        raise UserError(f"{where}: '{text.strip()[:40]}' is not the number of a frame")
    return int(text)


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
