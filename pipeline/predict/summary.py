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


class _Sums:
    """Sums over the frames in which a task is predicted of a face; arrays [K] of its outputs."""

    def __init__(self, outputs: int) -> None:
        self.total, self.counts = np.zeros(outputs), np.zeros(outputs)
        self.low, self.high = np.full(outputs, np.inf), np.full(outputs, -np.inf)
        self.high_s = np.full(outputs, NAN)
        self.scored = 0
        self.best: tuple[float, float, int] = (0.0, NAN, -1)

    def add(self, display: Display, time_s: float, values: np.ndarray) -> None:
        self.scored += 1
        self.total += values
        self.counts[display.marked(values)] += 1
        self.high_s[values > self.high] = time_s
        self.low, self.high = np.minimum(self.low, values), np.maximum(self.high, values)
        label = int(values.argmax())
        if values[label] > self.best[0]:
            self.best = float(values[label]), time_s, label


@dataclass
class _Face:
    """Sums over a face's frames, of each task by itself."""

    tasks: list[_Sums]
    frames: int = 0
    seconds: float = 0.0
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
        moment `max_s_`; valence and arousal `mean_`, `min_` and `max_`. Each task has its columns,
        the main one the first. `yaw`, `pitch`, `roll` and `quality` are means.
        `complete` is false if the video's table ends early.
        """
        return [self._row(face, seen) for face, seen in sorted(self._faces.items())]

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._row(0, self._unseen()))

    def _add_frame(self, rows: list[Row], frame_s: float) -> None:
        self._count += 1
        for row in rows:
            if row.success:
                seen = self._faces.setdefault(row.face_id, self._unseen())
                seen.frames += 1
                seen.seconds += frame_s
                _look(seen, row)
                for sums, (display, values) in zip(seen.tasks, self._head.values(row), strict=True):
                    if values is not None:
                        sums.add(display, row.time_s, values)

    def _unseen(self) -> _Face:
        return _Face([_Sums(len(display.names)) for display in self._head.tasks])

    def _row(self, face: int, seen: _Face) -> dict[str, Any]:
        predicted: dict[str, Any] = {}
        for display, sums in zip(self._head.tasks, seen.tasks, strict=True):
            predicted |= (_classes if display.of_classes else _targets)(display, sums)
        looks = (seen.looks / np.where(seen.known, seen.known, NAN)).tolist()
        return {
            "video": self._head.video,
            "face_id": face,
            "frames": seen.frames,
            "seconds": seen.seconds,
            "coverage": seen.frames / max(1, self._count),
            **predicted,
            **dict(zip(LOOKS, looks, strict=True)),
            "complete": self._complete,
        }


def _classes(display: Display, sums: _Sums) -> dict[str, Any]:
    classes, scored = display.names, sums.scored or NAN
    mean = sums.total / scored
    highest, at, label = sums.best
    return {
        "label": classes[int(mean.argmax())] if sums.scored else "",
        **_columns(display, "mean", mean),
        **_columns(display, "fraction", sums.counts / scored),
        "peak_s": at,
        "peak_label": classes[label] if sums.scored else "",
        "peak_p": highest if sums.scored else NAN,
    }


def _targets(display: Display, sums: _Sums) -> dict[str, Any]:
    # of no frame, unknown
    scored = sums.scored or NAN
    low, high = (np.where(np.isfinite(end), end, NAN) for end in (sums.low, sums.high))
    mean, highest = _columns(display, "mean", sums.total / scored), _columns(display, "max", high)
    if not display.says_when:
        return {**mean, **_columns(display, "min", low), **highest}
    fraction = _columns(display, "fraction", sums.counts / scored)
    return {**mean, **fraction, **highest, **_columns(display, "max_s", sums.high_s)}


def _columns(display: Display, prefix: str, values: np.ndarray) -> dict[str, float]:
    pairs = zip(display.names, values.tolist(), strict=True)
    return {f"{prefix}_{name}": value for name, value in pairs}


def _look(seen: _Face, row: Row) -> None:
    values = {**angles(row), **quality(row)}
    look = np.array([values[name] for name in LOOKS])
    known = ~np.isnan(look)
    seen.looks[known] += look[known]
    seen.known += known


def write_summary(
    path: Path, displays: Sequence[Display], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write the rows of several videos as csv; unknown numbers are empty.

    Args:
        displays: of the tasks, the main one's first.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(displays), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_text(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def summary_table(
    displays: Sequence[Display], rows: Sequence[Mapping[str, Any]], most: int = 40
) -> Table:
    """Return the rows for a terminal: the first `most`, without the mean of every class."""
    table = Table(title="Faces", caption=_more(rows, most))
    table.add_column("video", min_width=16)
    table.add_column("face")
    main, *also = displays
    headings = [*_headings(main), *(name for one in also for name in _headings(one, further=True))]
    for name in ("seconds", "coverage", *headings):
        table.add_column(name)
    names = _without_common_folder([row["video"] for row in rows[:most]])
    for name, row in zip(names, rows[:most], strict=True):
        numbers = (f"{row['seconds']:.1f}", f"{row['coverage']:.0%}")
        cells = [cell for display in displays for cell in _cells(display, row)]
        table.add_row(escape(name), str(row["face_id"]), *numbers, *cells)
    return table


def _headings(display: Display, *, further: bool = False) -> list[str]:
    if display.of_classes:
        return ["label", "in % of frames", "most confident moment"]
    what = "present in % of frames" if display.says_when else "mean (range)"
    return [f"{display.title}: {what}" if further else what]


def _cells(display: Display, row: Mapping[str, Any]) -> list[str]:
    return _class_cells(row) if display.of_classes else [_targets_cell(display, row)]


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
    if not display.says_when:
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


def columns_of(displays: Sequence[Display]) -> list[str]:
    """Return the summary's columns."""
    main, *also = displays
    head = TableHeader("", main.names, 0, kind=main.kind, also=also)
    return FaceSummary(head).columns()
