"""Frames of any size on a canvas of one size: none is stretched, bars are black."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from arpgnet.pipeline.predict.rows import Row


@dataclass(frozen=True)
class Letterbox:
    """A canvas; a frame is as large on it as its shape allows, and in the middle."""

    width: int
    height: int

    def image(self, frame: np.ndarray) -> np.ndarray:
        """Return the canvas with a frame, uint8 [H, W, 3], to be drawn on."""
        x, y, width, height = self._place(*frame.shape[1::-1])
        how = cv2.INTER_AREA if width < frame.shape[1] else cv2.INTER_LINEAR
        resized: np.ndarray = cv2.resize(frame, (width, height), interpolation=how)
        if (width, height) == (self.width, self.height):
            return resized
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[y : y + height, x : x + width] = resized
        return canvas

    def row(self, row: Row, width: int, height: int) -> Row:
        """Return the row of a frame of this size in the canvas's pixels."""
        x, y, wide, high = self._place(width, height)
        if row.box is None or (x, y, wide, high) == (0, 0, width, height):
            return row
        scale, shift = np.array([wide / width, high / height]), np.array([x, y])
        box = (row.box.reshape(2, 2) * scale + shift).ravel()
        points = None if row.points is None else row.points * scale + shift
        return replace(row, box=box, points=points)

    def _place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height on the canvas."""
        scale = min(self.width / width, self.height / height)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        # a canvas with rounded sides has no bar of a pixel
        wide = self.width if self.width - wide <= 1 else wide
        high = self.height if self.height - high <= 1 else high
        return (self.width - wide) // 2, (self.height - high) // 2, wide, high
