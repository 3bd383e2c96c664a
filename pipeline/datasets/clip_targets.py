"""Target values of a clip or its frames: action units, valence and arousal, and their codes for
what is not annotated."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.label_files import cells_of
from arpgnet.pipeline.datasets.spelling import is_missing, quoted, spelling_key
from arpgnet.pipeline.tables.targets import TargetTable, empty_targets

# what public label files write where nothing is annotated: 9 BP4D, 999 EmotioNet, -1 Aff-Wild2
NOT_CODED = (9.0, 999.0, -1.0)
# the same of valence and arousal, of which -1 is a value
NO_AFFECT = -5.0
AFFECT = ("valence", "arousal")
INTENSITY = "_intensity"
# `AU12`, `'AU 12'`, au_12, AU12_r (OpenFace's intensity), AU12_c (its presence)
_UNIT = re.compile(r"[\"'` ]*au[ _]*0*(\d+)[ _]*(intensity|occurrence|r|c)?[\"'` ]*")
_FRAME_COLUMNS = ("frame", "frame_index")
# of a frame's number: more do not fit into 32 bits
_DIGITS = 9


@dataclass(frozen=True)
class ClipTargets:
    """Values of a clip (`frames` is None; one row), or of its frames.

    `values` is float32 [rows, A], NaN where nothing is annotated; `frames` int64 [rows], numbers
    in the video, ascending.
    """

    names: tuple[str, ...]
    values: np.ndarray
    frames: np.ndarray | None = None

    def digest(self) -> str:
        """Return a digest of all of it."""
        frames = b"" if self.frames is None else self.frames.astype("<i8").tobytes()
        parts = ("\n".join(self.names).encode(), self.values.astype("<f4").tobytes(), frames)
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


class FrameValues:
    """Collects what a file says of a video's frames, in whatever order its lines stand.

    Args:
        names: of the values of a line.
        first: the number that the file gives the video's first frame.
    """

    def __init__(self, names: Sequence[str], first: int = 0) -> None:
        self._names, self._first = tuple(names), first
        self._rows: dict[int, Sequence[float]] = {}

    def add(self, frame: str, values: Sequence[float], where: str) -> None:
        """Take the values of a frame.

        Args:
            where: the file and line, for the message.

        Raises:
            UserError: it is not the number of a frame, or one that was there before.
        """
        text = frame.strip()
        if not text.isdecimal() or len(text) > _DIGITS or int(text) < self._first:
            raise UserError(
                f"{where}: frame {quoted(text[:40])} is not a whole number from {self._first} on"
            )
        number = int(text) - self._first
        if number in self._rows:
            raise UserError(f"{where}: frame {text} is listed twice")
        self._rows[number] = values

    def targets(self, name: str) -> ClipTargets:
        """Return all of it, by ascending frame.

        Args:
            name: of the file, for the message.

        Raises:
            UserError: there is no frame.
        """
        if not self._rows:
            raise UserError(f"{name} has no frames")
        frames = sorted(self._rows)
        values = np.array([self._rows[frame] for frame in frames], np.float32)
        return ClipTargets(self._names, values, np.array(frames))


def target_name(column: str) -> str | None:
    """Return what a column is called here (`au_12`, `au_12_intensity`, `valence`); None: no
    target."""
    name = spelling_key(column)
    if name in AFFECT:
        return name
    found = _UNIT.fullmatch(name)
    if not found:
        return None
    strength = found[2] in ("intensity", "r")
    return f"au_{int(found[1])}{INTENSITY if strength else ''}"


def is_presence(name: str) -> bool:
    """Check whether a target is an action unit's presence."""
    return name not in AFFECT and not name.endswith(INTENSITY)


def read_value(name: str, text: str, where: str = "") -> float:
    """Read a target's value; NaN: not annotated.

    Args:
        where: the file and line, for the message.

    Raises:
        UserError: it is neither a value of this target nor a code for none.
    """
    value, problem = _value(name, text)
    if problem:
        raise UserError(f"{where}: {problem}" if where else problem)
    return value


@lru_cache(maxsize=4096)  # a data set has millions of cells, and a unit six values
def _value(name: str, text: str) -> tuple[float, str]:
    """Return a target's value, NaN for none, and what is wrong with it; empty: nothing."""
    text = text.strip()
    affect = name in AFFECT
    if not text or (is_missing(text) and not (affect and _number(text) is not None)):
        return float("nan"), ""
    value = _number(text)
    if value is not None and (value == NO_AFFECT if affect else value in NOT_CODED):
        return float("nan"), ""
    if affect:
        good, wanted, codes = value is not None and -1 <= value <= 1, "in -1 to 1", "-5 or nothing"
    elif name.endswith(INTENSITY):
        good, wanted = value is not None and 0 <= value <= 5, "in 0 to 5"
        codes = "9, 999, -1 or nothing"
    else:
        good, wanted, codes = value in (0.0, 1.0), "0 or 1", "9, 999, -1 or nothing"
    if good and value is not None:
        return value, ""
    graded = is_presence(name) and value is not None and 0 <= value <= 5
    hint = f"; intensities belong in a column {name}{INTENSITY}" if graded else ""
    return float("nan"), f"{name} {quoted(text)} is not {wanted} (not annotated: {codes}){hint}"


def read_block(names: Sequence[str], lines: Sequence[str]) -> np.ndarray | None:
    """Read lines of numbers with commas between them at once, float32 [lines, A]; None where any is
    not as `read_value` wants it, which says what is wrong.

    A video has as many lines as frames, a data set millions.
    """
    try:
        numbers = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    except ValueError:
        return None
    if numbers.shape != (len(lines), len(names)):
        return None
    for name, column in zip(names, numbers.T, strict=True):
        affect = name in AFFECT
        column[np.isin(column, [NO_AFFECT] if affect else NOT_CODED)] = np.nan
        low, high = (-1, 1) if affect else (0, 5)
        good = np.isnan(column) | ((column >= low) & (column <= high))
        if is_presence(name):
            good &= np.isnan(column) | np.isin(column, (0, 1))
        if not good.all():
            return None
    found: np.ndarray = numbers.astype(np.float32)
    return found


def of_clip(cells: Mapping[str, str]) -> tuple[ClipTargets, ...]:
    """Return the targets in a row of a table, by column; nothing where no column is one.

    Raises:
        UserError: a value is wrong.
    """
    names = {column: name for column in cells if (name := target_name(column))}
    if not names:
        return ()
    values = [read_value(name, cells[column]) for column, name in names.items()]
    return (ClipTargets(tuple(names.values()), np.array([values], np.float32)),)


def read_frame_targets(path: Path) -> ClipTargets:
    """Read a csv file with a row for each frame of a video.

    A header names the columns, in any order. A column `frame` has the frames' numbers, from 0;
    without one the rows follow the video from its first frame.

    Raises:
        UserError: the file is absent or no such table, or a value is wrong; with its line.
    """
    if not path.is_file():
        raise UserError(f"no file with frame targets at {path.name}")
    lines = list(cells_of(path))
    if len(lines) < 2:
        raise UserError(f"{path.name} has no frames: it needs a header and a line for each frame")
    (_, header), *rows = lines
    names = {place: name for place, cell in enumerate(header) if (name := target_name(cell))}
    if not names:
        raise UserError(
            f"line 1 of {path.name} names no target (found: {', '.join(header[:8])}): columns are "
            "au_<number>, au_<number>_intensity, valence and arousal"
        )
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"line 1 of {path.name} names {twice[0]} twice")
    keys = [spelling_key(cell) for cell in header]
    numbered = next((keys.index(name) for name in _FRAME_COLUMNS if name in keys), None)
    found = FrameValues(list(names.values()))
    for row, (number, cells) in enumerate(rows):
        where = f"line {number} of {path.name}"
        if len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} fields where the header has {len(header)}")
        values = [read_value(name, cells[at], where) for at, name in names.items()]
        found.add(str(row) if numbered is None else cells[numbered], values, where)
    return found.targets(path.name)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def target_table(targets: Mapping[str, Sequence[ClipTargets]]) -> TargetTable:
    """Return the table of all clips, in their order, with a row for the whole clip, first, and for
    each frame of which anything is said."""
    names = ordered({name for several in targets.values() for one in several for name in one.names})
    if not names:
        return empty_targets()
    clips, frames, values = [], [], []
    for clip, several in sorted(targets.items()):
        if not several:
            continue
        numbers = [np.array([-1]) if one.frames is None else one.frames for one in several]
        rows = np.unique(np.concatenate(numbers))
        block = np.full((len(rows), len(names)), np.nan, np.float32)
        for one, own in zip(several, numbers, strict=True):
            columns = [names.index(name) for name in one.names]
            block[np.searchsorted(rows, own)[:, None], columns] = one.values
        clips.append(np.repeat(np.array([clip], object), len(rows)))
        frames.append(rows)
        values.append(block)
    return TargetTable(names, *(np.concatenate(column) for column in (clips, frames, values)))


def ordered(names: Iterable[str]) -> list[str]:
    """Sort by number of the action unit, occurrence before intensity; then valence, arousal."""

    def place(name: str) -> tuple[int, int]:
        if name in AFFECT:
            return 10_000, AFFECT.index(name)
        return int(name.split("_")[1]), int(name.endswith(INTENSITY))

    return sorted(names, key=place)


def unannotated(table: TargetTable) -> list[str]:
    """Remark on what is not annotated: masked, and counted here."""
    frames = table.frame_index >= 0
    parts = []
    for rows, unit in ((~frames, "clips"), (frames, "frames")):
        values = table.values[rows]
        gone = np.isnan(values).sum(axis=0)
        used = [
            f"{name} {count}"
            for name, count in zip(table.names, gone.tolist(), strict=True)
            if 0 < count < len(values)
        ]
        if used:
            parts.append(
                f"targets without an annotation, which are masked, of {len(values)} {unit}: "
                f"{', '.join(used)}"
            )
    return parts
