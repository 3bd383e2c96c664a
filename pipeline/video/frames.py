"""A frame that was chosen, on its way into data/frames.

Images as JPEG bytes and back; RGB outside, OpenCV's BGR nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encode an RGB uint8 image [H,W,3] as JPEG; the same image gives the same bytes.

    Raises:
        ValueError: the image cannot be encoded, e.g. a side is longer than 65,500 pixels.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"an image of {image.shape[1]}x{image.shape[0]} cannot be encoded as JPEG")
    return bytes(buffer.tobytes())


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """Decode the RGB uint8 image [H,W,3] of `encode_jpeg`.

    Raises:
        ValueError: the bytes are not an image.
    """
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("not a JPEG image")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class SampledFrame:
    """A chosen frame: `index` counts the video's frames, `time_s` from the first one on.

    `points` are the data set's own landmarks, x y after x y in pixels of this image;
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
    """Shrink an image to a longer side of at most `max_side`; never enlarge it.

    Area interpolation: each new pixel is the mean of those it covers, so nothing aliases.
    """
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, target, interpolation=cv2.INTER_AREA)
