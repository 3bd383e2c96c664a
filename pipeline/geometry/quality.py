"""How good a face's image is: its size, sharpness and exposure, and one number for all of it.

Sharpness and exposure are of the middle of the aligned crop of 112 pixels, so that they mean the
same for a face of any size in the image: an enlarged small face lacks detail, and is not sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# rows and columns of the crop from the brows to the chin and between the cheeks: no background, and
# nothing from outside the image for most faces
FACE = (slice(24, 104), slice(20, 92))
# Variance of the Laplacian of Gaussian (1 pixel) relative to that of the gray levels, which makes
# it independent of contrast. Close-ups of RAVDESS have 0.03, small compressed faces (30 pixels
# between the eyes) 0.01, both blurred by a Gaussian of 2 pixels of the crop 0.007 and 0.002.
SHARP = 0.02
# gray levels up to which, and from which on, a pixel shows no detail
DARK, BRIGHT = 8, 247
# between the eyes in the aligned crop: a face with fewer pixels was enlarged
CROP_EYES_PX = 35.2


@dataclass(frozen=True)
class Quality:
    """What can be measured of a face's image.

    Attributes:
        face_px: shorter side of the face's box.
        interocular_px: distance between the eyes' centers.
        sharpness: 1 for the detail of a sharp face; less is blurred, noise and wrinkles give more.
        exposure: fraction of pixels that are neither black nor white. Their mean would depend on
            the color of the skin.
    """

    face_px: float
    interocular_px: float
    sharpness: float
    exposure: float

    def score(self, yaw: float, pitch: float) -> float:
        """Return the worst of size, sharpness, exposure and frontality, each from 0 to 1.

        Args:
            yaw, pitch: degrees; NaN where they are not known, and then do not count.
        """
        frontal = np.cos(np.radians(yaw)) * np.cos(np.radians(pitch))
        parts = (self.interocular_px / CROP_EYES_PX, self.sharpness, self.exposure, frontal)
        return float(np.clip(np.nanmin(parts), 0.0, 1.0))


def face_px(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the shorter sides [...] of boxes [..., 4], x1 y1 x2 y2."""
    boxes = np.asarray(boxes, np.float64)
    sides: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).min(axis=-1)
    return sides


def face_quality(
    crop: NDArray[np.uint8], box: NDArray[np.floating], kps: NDArray[np.floating]
) -> Quality:
    """Measure a face.

    Args:
        crop: aligned, RGB, uint8 [112, 112, 3].
        box, kps: [4] and [5, 2], of which the first two are the eyes; in pixels of the video.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(crop[FACE]), cv2.COLOR_RGB2GRAY)
    # rounding to whole gray levels would look like detail
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    detail = cv2.meanStdDev(cv2.Laplacian(smooth, cv2.CV_32F))[1].item() ** 2
    contrast = cv2.meanStdDev(gray)[1].item() ** 2
    seen = cv2.countNonZero(cv2.inRange(gray, DARK + 1, BRIGHT - 1))
    return Quality(
        face_px=float(face_px(box)),
        interocular_px=float(np.hypot(*(kps[1] - kps[0]))),
        # an even surface, such as a covered lens, has no detail at all
        sharpness=detail / max(contrast, 1.0) / SHARP,
        exposure=seen / gray.size,
    )
