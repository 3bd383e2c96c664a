"""A summary of the faces in several videos: one row per face, for a first look or statistics."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.predict.formats import angles, quality
from arpgnet.pipeline.predict.output import as_text
from arpgnet.pipeline.predict.rows import NAN, ByFrame, Row, TableHeader

# means over a face's frames in which they are known
LOOKS = ("yaw", "pitch", "roll", "quality")


@dataclass
class _Face:
    total: np.ndarray
    counts: np.ndarray
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
        the most probable one; `peak_s`, `peak_label` and `peak_p` are the most confident moment;
        `yaw`, `pitch`, `roll` and `quality` are means. `complete` is false if the video's table
        ends early.
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
                    _score(seen, row.time_s, row.probabilities)

    def _unseen(self) -> _Face:
        return _Face(np.zeros(len(self._head.classes)), np.zeros(len(self._head.classes)))

    def _row(self, face: int, seen: _Face) -> dict[str, Any]:
        classes = self._head.classes
        # of no frame, unknown
        scored = seen.scored or NAN
        mean, fraction = seen.total / scored, seen.counts / scored
        highest, at, label = seen.best
        return {
            "video": self._head.video,
            "face_id": face,
            "frames": seen.frames,
            "seconds": seen.seconds,
            "coverage": seen.frames / max(1, self._count),
            "label": classes[int(mean.argmax())] if seen.scored else "",
            **{f"mean_{name}": float(value) for name, value in zip(classes, mean, strict=True)},
            **{
                f"fraction_{name}": float(value)
                for name, value in zip(classes, fraction, strict=True)
            },
            "peak_s": at,
            "peak_label": classes[label] if seen.scored else "",
            "peak_p": highest if seen.scored else NAN,
            **dict(
                zip(
                    LOOKS,
                    (seen.looks / np.where(seen.known, seen.known, NAN)).tolist(),
                    strict=True,
                )
            ),
            "complete": self._complete,
        }


def _look(seen: _Face, row: Row) -> None:
    values = {**angles(row), **quality(row)}
    look = np.array([values[name] for name in LOOKS])
    known = ~np.isnan(look)
    seen.looks[known] += look[known]
    seen.known += known


def _score(seen: _Face, time_s: float, probabilities: np.ndarray) -> None:
    label = int(probabilities.argmax())
    seen.scored += 1
    seen.total += probabilities
    seen.counts[label] += 1
    if probabilities[label] > seen.best[0]:
        seen.best = float(probabilities[label]), time_s, label


def write_summary(path: Path, classes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of several videos as csv; unknown numbers are empty.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(classes), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_text(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def summary_table(rows: Sequence[Mapping[str, Any]], most: int = 40) -> Table:
    """Return the rows for a terminal: the first `most`, without the mean of every class."""
    table = Table(title="Faces", caption=_more(rows, most))
    table.add_column("video", min_width=16)
    table.add_column("face")
    for name in ("seconds", "coverage", "label", "in % of frames", "most confident moment"):
        table.add_column(name)
    names = _without_common_folder([row["video"] for row in rows[:most]])
    for name, row in zip(names, rows[:most], strict=True):
        label = row["label"]
        share = f"{row[f'fraction_{label}']:.0%}" if label else ""
        peak = f"{row['peak_label']} {row['peak_p']:.2f} at {row['peak_s']:.1f} s" if label else ""
        numbers = (f"{row['seconds']:.1f}", f"{row['coverage']:.0%}")
        table.add_row(escape(name), str(row["face_id"]), *numbers, label, share, peak)
    return table


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


def columns_of(classes: Sequence[str]) -> list[str]:
    """Return the summary's columns."""
    nobody = FaceSummary(TableHeader("", classes, 0))
    return list(nobody._row(0, nobody._unseen()))
