"""A summary of the faces in several videos: one row per face, for a first look or statistics."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.formats import angles, quality
from arpgnet.pipeline.predict.output import as_text
from arpgnet.pipeline.predict.rows import NAN, ByFrame, Row, TableHeader

# means over a face's frames in which they are known
LOOKS = ("yaw", "pitch", "roll", "quality")


@dataclass
class _Face:
    """Sums over a face's frames; arrays [K] of what is predicted."""

    total: np.ndarray
    counts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    high_s: np.ndarray
    frames: int = 0
    seconds: float = 0.0
    scored: int = 0
    best: tuple[float, float, int] = (0.0, NAN, -1)
    looks: np.ndarray = field(default_factory=lambda: np.zeros(len(LOOKS)))
    known: np.ndarray = field(default_factory=lambda: np.zeros(len(LOOKS)))


class FaceSummary:
    """Collects a video's rows; a `Table` beside the one that is written."""

    def __init__(self, head: TableHeader) -> None:
        self._head = head
        self._faces: dict[int, _Face] = {}
        self._count = 0
        self._complete = False
        self._frames = ByFrame(self._add_frame)

    def add(self, row: Row) -> None:
        self._frames.add(row)

    def close(self, complete: bool) -> None:
        self._frames.end()
        self._complete = complete

    def discard(self) -> None:
        """There is no file to remove."""

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per face, in the order of their ids.

        `coverage` is the fraction of the video's frames that show the face; `mean_<class>` is the
        mean probability, `fraction_<class>` the fraction of the scored frames in which the class is
        the most probable one; `peak_s`, `peak_label` and `peak_p` are the most confident moment.
        Action units have `mean_<target>`, `fraction_` (in which they are present), `max_` and its
        moment `max_s_`; valence and arousal `mean_`, `min_` and `max_`. `yaw`, `pitch`, `roll` and
        `quality` are means.
        `complete` is false if the video's table ends early.
        """
        return [self._row(face, seen) for face, seen in sorted(self._faces.items())]

    def _add_frame(self, rows: list[Row], frame_s: float) -> None:
        self._count += 1
        for row in rows:
            if row.success:
                seen = self._faces.setdefault(row.face_id, self._unseen())
                seen.frames += 1
                seen.seconds += frame_s
                _look(seen, row)
                if row.probabilities is not None:
                    self._score(seen, row.time_s, row.probabilities)

    def _unseen(self) -> _Face:
        outputs = len(self._head.classes)
        return _Face(
            total=np.zeros(outputs),
            counts=np.zeros(outputs),
            low=np.full(outputs, np.inf),
            high=np.full(outputs, -np.inf),
            high_s=np.full(outputs, NAN),
        )

    def _score(self, seen: _Face, time_s: float, values: np.ndarray) -> None:
        seen.scored += 1
        seen.total += values
        seen.counts[self._head.display.marked(values)] += 1
        seen.high_s[values > seen.high] = time_s
        seen.low, seen.high = np.minimum(seen.low, values), np.maximum(seen.high, values)
        label = int(values.argmax())
        if values[label] > seen.best[0]:
            seen.best = float(values[label]), time_s, label

    def _row(self, face: int, seen: _Face) -> dict[str, Any]:
        return {
            "video": self._head.video,
            "face_id": face,
            "frames": seen.frames,
            "seconds": seen.seconds,
            "coverage": seen.frames / max(1, self._count),
            **(self._classes(seen) if self._head.display.of_classes else self._targets(seen)),
            **dict(
                zip(
                    LOOKS,
                    (seen.looks / np.where(seen.known, seen.known, NAN)).tolist(),
                    strict=True,
                )
            ),
            "complete": self._complete,
        }

    def _classes(self, seen: _Face) -> dict[str, Any]:
        classes, scored = self._head.classes, seen.scored or NAN
        mean = seen.total / scored
        highest, at, label = seen.best
        return {
            "label": classes[int(mean.argmax())] if seen.scored else "",
            **self._columns("mean", mean),
            **self._columns("fraction", seen.counts / scored),
            "peak_s": at,
            "peak_label": classes[label] if seen.scored else "",
            "peak_p": highest if seen.scored else NAN,
        }

    def _targets(self, seen: _Face) -> dict[str, Any]:
        # of no frame, unknown
        scored = seen.scored or NAN
        low, high = (np.where(np.isfinite(end), end, NAN) for end in (seen.low, seen.high))
        mean, highest = self._columns("mean", seen.total / scored), self._columns("max", high)
        if self._head.display.present is None:
            return {**mean, **self._columns("min", low), **highest}
        fraction = self._columns("fraction", seen.counts / scored)
        return {**mean, **fraction, **highest, **self._columns("max_s", seen.high_s)}

    def _columns(self, prefix: str, values: np.ndarray) -> dict[str, float]:
        pairs = zip(self._head.classes, values.tolist(), strict=True)
        return {f"{prefix}_{name}": value for name, value in pairs}


def _look(seen: _Face, row: Row) -> None:
    values = {**angles(row), **quality(row)}
    look = np.array([values[name] for name in LOOKS])
    known = ~np.isnan(look)
    seen.looks[known] += look[known]
    seen.known += known


def write_summary(path: Path, display: Display, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of several videos as csv; unknown numbers are empty.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(display), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_text(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def summary_table(display: Display, rows: Sequence[Mapping[str, Any]], most: int = 40) -> Table:
    """Return the rows for a terminal: the first `most`, without the mean of every class."""
    table = Table(title="Faces", caption=_more(rows, most))
    table.add_column("video", min_width=16)
    table.add_column("face")
    for name in ("seconds", "coverage", *_headings(display)):
        table.add_column(name)
    names = _without_common_folder([row["video"] for row in rows[:most]])
    for name, row in zip(names, rows[:most], strict=True):
        numbers = (f"{row['seconds']:.1f}", f"{row['coverage']:.0%}")
        cells = _class_cells(row) if display.of_classes else [_targets_cell(display, row)]
        table.add_row(escape(name), str(row["face_id"]), *numbers, *cells)
    return table


def _headings(display: Display) -> list[str]:
    if display.of_classes:
        return ["label", "in % of frames", "most confident moment"]
    return ["mean (range)" if display.present is None else "present in % of frames"]


def _class_cells(row: Mapping[str, Any]) -> list[str]:
    label = row["label"]
    if not label:
        return ["", "", ""]
    peak = f"{row['peak_label']} {row['peak_p']:.2f} at {row['peak_s']:.1f} s"
    return [label, f"{row[f'fraction_{label}']:.0%}", peak]


def _targets_cell(display: Display, row: Mapping[str, Any]) -> str:
    """Say how often units are present, most often first; of other targets mean and range."""
    short = dict(zip(display.names, display.short, strict=True))
    if math.isnan(row[f"mean_{display.names[0]}"]):
        return ""
    if display.present is None:
        values = {name: [row[f"{key}_{name}"] for key in ("mean", "min", "max")] for name in short}
        numbers = {name: map(display.number, found) for name, found in values.items()}
        return ", ".join("{} {} ({} to {})".format(short[name], *numbers[name]) for name in short)
    often = sorted(((row[f"fraction_{name}"], name) for name in short), key=lambda one: -one[0])
    return ", ".join(f"{short[name]} {share:.0%}" for share, name in often if share) or "none"


def _without_common_folder(videos: Sequence[str]) -> list[str]:
    folders = {PurePath(video).parent for video in videos}
    if len({folder.anchor for folder in folders}) > 1:
        return list(videos)
    common = os.path.commonpath(folders) if folders else ""
    if common in {folder.anchor for folder in folders}:
        # relative to the root of the disk, they would look like paths in this folder
        return list(videos)
    return [os.path.relpath(video, common) for video in videos]


def _more(rows: Sequence[Mapping[str, Any]], most: int) -> str | None:
    return f"and {len(rows) - most} more" if len(rows) > most else None


def columns_of(display: Display) -> list[str]:
    """Return the summary's columns."""
    nobody = FaceSummary(TableHeader("", display.names, 0, kind=display.kind))
    return list(nobody._row(0, nobody._unseen()))
