"""A table's rows, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arpgnet.pipeline.predict.output import Row


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
