"""Colors and text of an overlay.

Images are RGB uint8 [H, W, 3] and are drawn on in place.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

Color = tuple[int, int, int]

# Okabe & Ito's palette, distinguishable with any color vision (jfly.uni-koeln.de/color), RGB;
# neighbors differ in lightness too
PALETTE: tuple[Color, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (0, 114, 178),
    (204, 121, 167),
)  # fmt: skip
BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
GROUND: Color = (24, 24, 24)
FAINT: Color = (70, 70, 70)
GRAY: Color = (190, 190, 190)

# below it letters run into each other after 4:2:0 and H.264
MIN_TEXT_PX = 12
# 30 px at 1080p, as subtitles
TEXT_SHARE = 36
REGULAR, BOLD = 400, 700


@dataclass(frozen=True)
class Sizes:
    """Of what is drawn, in pixels: the text's size, and the width of a box's line."""

    text: int
    line: int

    @property
    def row(self) -> int:
        """Height of a line of text with its surroundings."""
        return round(1.3 * self.text)


def sizes(width: int, height: int) -> Sizes:
    """By the image's shorter side: 12 px of text at 360p, 30 px at 1080p."""
    text = max(MIN_TEXT_PX, round(min(width, height) / TEXT_SHARE))
    # three pixels keep their color in 4:2:0
    return Sizes(text, max(3, round(text / 5)))


def color_of(face: int) -> Color:
    """A face's own; after seven faces they come again."""
    return PALETTE[face % len(PALETTE)]


def on(color: Color) -> Color:
    """Black or white, whichever is read better on a color."""
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else WHITE


def mixed(color: Color, ground: Color, share: float) -> Color:
    """`share` of the color, the rest of the ground."""
    red, green, blue = (
        round(share * one + (1 - share) * other) for one, other in zip(color, ground, strict=True)
    )
    return red, green, blue


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: int, weight: int = REGULAR) -> int:
    """Pixels."""
    return int(cv2.getTextSize((0, 0), text, (0, 0), _font(), size, weight)[2])


def shortened(text: str, size: int, width: int, weight: int = REGULAR) -> str:
    """What fits into a width, cut with an ellipsis."""
    if text_width(text, size, weight) <= width:
        return text
    while text and text_width(text + "…", size, weight) > width:
        text = text[:-1]
    return text + "…" if text else ""


def put(
    image: np.ndarray,
    text: str,
    at: tuple[int, int],
    size: int,
    color: Color,
    weight: int = REGULAR,
) -> None:
    """Text with its baseline beginning at x, y."""
    cv2.putText(image, text, at, color, _font(), size, weight)


@functools.cache
def _font() -> cv2.FontFace:
    # OpenCV's own, with the letters of most languages
    return cv2.FontFace("sans")
