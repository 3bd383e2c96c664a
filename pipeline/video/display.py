"""From an image as it is stored to the one that a player shows: square pixels, and upright."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

# containers that say nothing of the pixels' shape: the codec does, anew wherever it changes. The
# others' word holds for the whole stream, as in FFmpeg (av_guess_sample_aspect_ratio) and browsers.
_SHAPE_IN_CODEC = frozenset({"mpegts", "mpeg", "flv", "ogg"})
# a ratio closer to 1 is a rounded size (854 x 480 for 16:9 says 1280:1281)
_ROUNDED = Fraction(1, 100)
# more oblong pixels are in no standard (H.264's table ends at 2:1): a damaged header
_MOST_OBLONG = 8


@dataclass(frozen=True)
class Display:
    """How to show images of a stream.

    Attributes:
        width, height: of the stored image.
        pixel: width over height of one of its pixels.
        mirrored: left and right are exchanged first.
        quarters: quarter turns, counter-clockwise, that follow.
    """

    width: int
    height: int
    pixel: Fraction
    mirrored: bool
    quarters: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the shown image."""
        width, height = self._square()
        return (height, width) if self.quarters % 2 else (width, height)

    def image(self, stored: np.ndarray) -> np.ndarray:
        """Return the shown image of a stored one, [H, W, 3], contiguous."""
        if stored.shape[1::-1] != self._square():
            stored = cv2.resize(
                np.ascontiguousarray(stored), self._square(), interpolation=cv2.INTER_CUBIC
            )
        if self.mirrored:
            stored = stored[:, ::-1]
        return np.ascontiguousarray(np.rot90(stored, self.quarters))

    def _square(self) -> tuple[int, int]:
        """Return the stored size with square pixels; one side grows, as in players: none shrinks,
        so that no detail is lost."""
        if self.pixel > 1:
            return round(self.width * self.pixel), self.height
        return self.width, round(self.height / self.pixel)


def display_of(frame: Any) -> Display:
    """Read how a frame of `container.Frames` is to be shown."""
    shape: PixelShape = frame.opaque
    return _display(frame.width, frame.height, shape.ratio, shape.matrix)


@functools.lru_cache(maxsize=256)
def _display(width: int, height: int, ratio: Fraction | None, matrix: bytes | None) -> Display:
    """Compute it once for a file's frames: 20 microseconds less for each."""
    mirrored, quarters = (False, 0) if matrix is None else _orientation(matrix)
    return Display(width, height, _usable(ratio), mirrored, quarters)


@dataclass
class PixelShape:
    """Width over height of a packet's pixels; None or not positive where unknown.

    It travels with the packet to its frame, which decoders hand out later. `matrix` is the frame's
    display matrix, 9 integers.
    """

    ratio: Fraction | None = None
    matrix: bytes | None = None


def pixel_ratio(stream: Any, stated: bool) -> Fraction | None:
    """Return the ratio of the pixels of the packet that was decoded last.

    Args:
        stated: the container may be believed.
    """
    of_codec, of_stream = stream.codec_context.sample_aspect_ratio, stream.sample_aspect_ratio
    if stream.container.format.name in _SHAPE_IN_CODEC:
        return of_codec or of_stream
    return (of_stream or of_codec) if stated else of_codec


def _usable(ratio: Fraction | None) -> Fraction:
    if ratio is None or ratio <= 0 or abs(ratio - 1) <= _ROUNDED:
        return Fraction(1)
    return ratio if 1 / _MOST_OBLONG <= ratio <= _MOST_OBLONG else Fraction(1)


def _orientation(side_data: bytes) -> tuple[bool, int]:
    """Return `mirrored` and `quarters` of the nearest of the eight display matrices.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y, with y downwards.
    """
    matrix = np.frombuffer(side_data, np.int32).astype(np.int64)
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        a, b, c, d = _sign(a), 0, 0, _sign(d)
    else:
        a, b, c, d = 0, _sign(b), _sign(c), 0
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return mirrored, {(1, 0): 0, (0, -1): 1, (-1, 0): 2, (0, 1): 3}[a, b]


def _sign(value: int) -> int:
    return -1 if value < 0 else 1
