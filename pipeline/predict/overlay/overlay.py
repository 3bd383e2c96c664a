"""A table's rows, drawn on the video's frames while they come.

The video is decoded once more, frame by frame with the rows: one frame is held, and of the rows the
last seconds.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from arpgnet.pipeline.predict.blur import without_faces
from arpgnet.pipeline.predict.formats import beside
from arpgnet.pipeline.predict.letterbox import Letterbox
from arpgnet.pipeline.predict.overlay.boxes import draw_faces, draw_note
from arpgnet.pipeline.predict.overlay.heat import LEGENDS, draw_heat
from arpgnet.pipeline.predict.overlay.marks import sizes
from arpgnet.pipeline.predict.overlay.strip import Strip
from arpgnet.pipeline.predict.rows import ByFrame, Row, TableHeader
from arpgnet.pipeline.video.encode import Encoder
from arpgnet.pipeline.video.stream import InStep, Plan

SUFFIX = ".overlay.mp4"


def overlay_path(table: Path) -> Path:
    """Beside a table."""
    return beside(table, SUFFIX)


class Overlay:
    """Draws rows on a video, with the interface of `Table`.

    Args:
        path: of the MP4 file; one that was there is replaced.
        video: what is drawn on.
        expected: the frames that the rows speak of.
        head: what holds for all rows.
        attention: whether faces are colored by what the network attends to.

    Raises:
        Unexpected: the frames are others.
        ClipError: the video has no frames.
        UserError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        video: Path,
        expected: Plan,
        head: TableHeader,
        *,
        attention: bool = True,
    ) -> None:
        self._display, self._attention = head.display, attention
        self._images = InStep(video, expected)
        width, height = self._images.width, self._images.height
        # the first image's sides, whatever the stream changes to
        self._canvas = Letterbox(width, height)
        self._size = sizes(width, height)
        self._strip = Strip(head, width, self._size, LEGENDS if attention else ())
        # an overlay is passed on without its page: the short form always fits
        self._note = "trained on rendered faces only" if head.warning else ""
        self._frames = ByFrame(self._draw)
        self._done_s = 0.0
        self._encoder = Encoder(path, video, width, height + self._strip.height)

    def add(self, row: Row) -> None:
        """The next row; a frame is drawn when the first row of the next one comes."""
        self._frames.add(row)

    def close(self, complete: bool) -> None:
        """Draw the last frame and finish the file; the sound of what is missing is left out."""
        try:
            self._frames.end()
        finally:
            self._encoder.close(math.inf if complete else self._done_s)

    def discard(self) -> None:
        """Remove the file."""
        self._encoder.discard()

    def _draw(self, rows: list[Row], _: float) -> None:
        shown = self._images.at(rows[0].frame)
        image = self._canvas.image(without_faces(shown.image, rows[0]))
        rows = [self._canvas.row(row, *shown.image.shape[1::-1]) for row in rows]
        colored = [draw_heat(image, row) for row in rows if self._attention]
        draw_faces(image, rows, self._display, self._size)
        if self._note:
            draw_note(image, self._note, self._size)
        strip = self._strip.draw(shown.time_s, rows, legend=any(colored))
        self._encoder.add(shown.time_s, np.concatenate([image, strip]))
        self._done_s = shown.time_s
