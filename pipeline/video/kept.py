"""A frame that was chosen, on its way into data/frames."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class KeptFrame:
    """A chosen frame: `index` counts the video's frames, `time_s` from the first one on.

    `points` are the data set's own landmarks, x y after x y in pixels of the picture that is kept;
    None where it has none.
    """

    index: int
    time_s: float
    width: int
    height: int
    jpeg: bytes
    decoder: str
    points: list[float] | None = None


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """The picture with its longer side at most `max_side`; never enlarged.

    Area interpolation: each new pixel is the mean of those it covers, so nothing aliases.
    """
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, target, interpolation=cv2.INTER_AREA)
