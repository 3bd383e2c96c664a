"""A video whose frames are in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.video.stream import Plan, Shown


def plan_of_images(images: np.ndarray, fps: float) -> Plan:
    """Return the times of frames at a fixed rate.

    Raises:
        UserError: the images are not RGB, uint8 [T, H, W, 3], or the rate is not above 0.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not images.size:
        raise UserError(
            f"frames must be RGB, uint8 [T, H, W, 3], not {images.dtype} {list(images.shape)}"
        )
    if not (np.isfinite(fps) and fps > 0):
        raise UserError(f"fps must be above 0, not {fps}")
    return Plan(np.arange(len(images)) / fps, 1.0 / fps, whole=True, certain=True)


def show_images(images: np.ndarray, expected: Plan) -> Iterator[Shown]:
    """Yield the frames as `stream` does those of a file."""
    for index, (time_s, image) in enumerate(zip(expected.times.tolist(), images, strict=True)):
        yield Shown(index, time_s, np.ascontiguousarray(image))
