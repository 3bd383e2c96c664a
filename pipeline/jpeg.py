"""Pictures as JPEG bytes and back; RGB outside, OpenCV's BGR nowhere else."""

from __future__ import annotations

import cv2
import numpy as np


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG of an RGB uint8 picture [H,W,3]; the same picture gives the same bytes.

    Raises:
        ValueError: the picture cannot be encoded, e.g. a side is longer than 65,500 pixels.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"a picture of {image.shape[1]}x{image.shape[0]} cannot be kept as JPEG")
    return bytes(buffer.tobytes())


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """The RGB uint8 picture [H,W,3] of `encode_jpeg`.

    Raises:
        ValueError: the bytes are not a picture.
    """
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("not a JPEG picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
