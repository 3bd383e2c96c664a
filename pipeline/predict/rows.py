"""What a table has a row for: a face in a frame; and what holds for the whole table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from arpgnet.pipeline.geometry.pose import HeadPose
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.tables.predictions import EXPRESSION

if TYPE_CHECKING:
    # torch, which a reader of names need not wait for
    from arpgnet.pipeline.predict.likeness import Likeness

NAN = float("nan")


@dataclass(frozen=True)
class Regions:
    """What the network attends to in a face.

    Attributes:
        where: the regions' centers, float [N, 2], as a fraction of the face's box from its upper
            left corner.
        times_uniform: float [N], attention divided by uniform attention over the same graph; NaN
            for a region that is not visible.
    """

    where: np.ndarray
    times_uniform: np.ndarray


@dataclass(frozen=True)
class Row:
    """A face in a frame; for a frame without a face, `face_id` is -1 and the rest is empty.

    Shapes: box float [4], probabilities float [K] or None if no window has shown the face,
    points float [P, 2] in pixels of the video or None. `regions`, if requested, is that of the
    nearest frame that was shown to the network. `further`, float [J], are the values of further
    tasks, None as `probabilities`. `pose` and `quality` are None if not known.
    `blurred`, float [n, 4], are the boxes of everybody in the frame, if nobody may be recognized in
    its image.
    """

    frame: int
    time_s: float
    face_id: int = -1
    box: np.ndarray | None = None
    confidence: float = 0.0
    probabilities: np.ndarray | None = None
    coverage: float = 0.0
    points: np.ndarray | None = None
    regions: Regions | None = None
    pose: HeadPose | None = None
    quality: Quality | None = None
    blurred: np.ndarray | None = None
    further: np.ndarray | None = None

    @property
    def success(self) -> bool:
        return self.box is not None


@dataclass(frozen=True)
class TableHeader:
    """Properties of a whole table.

    Attributes:
        video: its name in the table.
        classes: K names.
        points: P landmarks per face; 0: none.
        window_s, stride_s: duration of what is classified together, and from one such window to the
            next (0: one window alone), seconds.
        warning: what the reader must know of the network.
        kind: the task; of others than expressions, `classes` are the names of targets, and
            probabilities their values.
        likeness: how unlike the training clips its faces are; known at the end.
        also: further tasks, whose J outputs follow one another in `Row.further`.
        thresholds: of `Display`.
    """

    video: str
    classes: Sequence[str]
    points: int
    window_s: float = NAN
    stride_s: float = NAN
    warning: str = ""
    kind: str = EXPRESSION
    likeness: Likeness | None = None
    also: Sequence[Display] = ()
    thresholds: Sequence[float] = ()

    @cached_property
    def display(self) -> Display:
        """How its values are shown."""
        return Display(self.kind, self.classes, self.thresholds)

    @cached_property
    def tasks(self) -> list[Display]:
        """How the values of every task are shown, the main one's first."""
        return [self.display, *self.also]

    def values(self, row: Row) -> list[tuple[Display, np.ndarray | None]]:
        """Pair every task with what is predicted of it in a row, float [K]; None: nothing is."""
        found: list[tuple[Display, np.ndarray | None]] = [(self.display, row.probabilities)]
        start = 0
        for display in self.also:
            end = start + len(display.names)
            found.append((display, None if row.further is None else row.further[start:end]))
            start = end
        return found


class ByFrame:
    """Gathers the rows of a frame, and hands them over when the next frame's come.

    Args:
        ended: called with a frame's rows and its duration in seconds: a frame lasts until the
            next one, the last one as long as the one before it.
    """

    def __init__(self, ended: Callable[[list[Row], float], None]) -> None:
        self._ended = ended
        self._rows: list[Row] = []
        self._frame_s = 0.0

    def add(self, row: Row) -> None:
        """Add the next row; frames rise."""
        if self._rows and row.frame != self._rows[0].frame:
            self._frame_s = row.time_s - self._rows[0].time_s
            self.end()
        self._rows.append(row)

    def end(self) -> None:
        """Hand over the last frame, if there is one."""
        rows, self._rows = self._rows, []
        if rows:
            self._ended(rows, self._frame_s)
