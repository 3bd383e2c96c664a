"""How good a face's image is: its size, sharpness and exposure, and one number for all of it.

Sharpness and exposure are of the middle of the aligned crop of 112 pixels, so that they mean the
same for a face of any size in the image: an enlarged small face lacks detail, and is not sharp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# the middle of the crop, from the brows to the chin and between the cheeks: no background, and
# nothing from outside the image for most faces
LEFT, TOP, WIDTH, HEIGHT = 20, 24, 72, 80
_CORNER = np.array([[0.0, 0.0, LEFT], [0.0, 0.0, TOP]])
# Variance of the Laplacian of a smoothed image (of about a Gaussian of 1 pixel) relative to that of
# the gray levels, which makes it independent of contrast. Close-ups of RAVDESS have 0.05 to 0.06,
# small compressed faces (30 pixels between the eyes) 0.01 to 0.04; blurred by 2 pixels
# of the crop, they have a fifth of that.
SHARP = 0.03
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
        frontal = math.cos(math.radians(yaw)) * math.cos(math.radians(pitch))
        parts = [1.0, self.interocular_px / CROP_EYES_PX, self.sharpness, self.exposure]
        if not math.isnan(frontal):
            parts.append(frontal)
        return max(0.0, min(parts))


def face_px(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the shorter sides [...] of boxes [..., 4], x1 y1 x2 y2."""
    boxes = np.asarray(boxes, np.float64)
    sides: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).min(axis=-1)
    return sides


def face_window(image: NDArray[np.uint8], matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut the part of an aligned crop that is measured out of an RGB image, gray uint8 [80, 72].

    Args:
        matrix: of the crop, [2, 3].
    """
    window = cv2.warpAffine(image, matrix - _CORNER, (WIDTH, HEIGHT))
    return np.asarray(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY), np.uint8)


def face_quality(
    window: NDArray[np.uint8],
    box: NDArray[np.floating],
    kps: NDArray[np.floating],
    scale: float = 1.0,
) -> Quality:
    """Measure a face.

    Args:
        window: of `face_window`.
        box, kps: [4] and [5, 2], of which the first two are the eyes; in pixels of the image.
        scale: pixels of the video for one of the image.
    """
    x1, y1, x2, y2 = box.tolist()
    # with the smoothing of a Gaussian of 1 pixel, in float: rounding would look like detail
    laplacian = cv2.Laplacian(window, cv2.CV_32F, ksize=5, scale=2.0**-6)
    detail = cv2.meanStdDev(laplacian)[1].item() ** 2
    contrast = cv2.meanStdDev(window)[1].item() ** 2
    seen = cv2.countNonZero(cv2.inRange(window, DARK + 1, BRIGHT - 1))
    return Quality(
        face_px=min(x2 - x1, y2 - y1) * scale,
        interocular_px=math.dist(kps[0].tolist(), kps[1].tolist()) * scale,
        # an even surface, such as a covered lens, has no detail at all
        sharpness=detail / max(contrast, 1.0) / SHARP,
        exposure=seen / window.size,
    )
