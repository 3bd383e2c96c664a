"""Faces that need not be looked for: the data set says where they are.

`aligned`: every image is a face that was cut out already (Aff-Wild2's and AFEW's crops). It is
brought to 112 pixels as it is; keypoints and box are where they lie in a crop of our own.
`landmarks`: 68 points per image (CK+) give the five keypoints, and so the usual alignment.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX, apply, similarity

# x1 y1 x2 y2 of the detector's box in a 112 px crop: the median over 535 frames of 21 people
# (YuNet); standard deviations 3.5, 3.5, 3.4, 1.7
NOMINAL_BOX: NDArray[np.float32] = np.array([14.6, 9.8, 96.5, 120.5], np.float32)

# iBUG 300-W, Sagonas et al., ICCV workshops 2013: eyes (image-left, image-right), tip of the nose,
# corners of the mouth
_EYES = (slice(36, 42), slice(42, 48))
_NOSE, _MOUTH = 30, (48, 54)
# the points end at the brows, a detector's box at the hairline: parts of the points' height
_FOREHEAD = 0.3


def whole_image(width: int, height: int) -> NDArray[np.float32]:
    """Return the matrix [2, 3] that puts an image into the 112 px crop, its sides' ratio kept.

    Middle on middle, with centers of pixels at whole numbers: a pixel of the crop is then the mean
    of four of a 224 px image, and not one of them.
    """
    scale = CROP_PX / max(width, height)
    shift = (CROP_PX - 1 - scale * (np.array([width, height]) - 1)) / 2
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]], np.float32)


def nominal_face(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return box [4] and keypoints [5, 2], in image pixels, of a face that is a crop already."""
    back = cv2.invertAffineTransform(matrix)
    return apply(back, NOMINAL_BOX.reshape(2, 2)).ravel(), apply(back, ARCFACE_TEMPLATE)


def face_of_points(
    points: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Return box [4], keypoints [5, 2] and matrix [2, 3] (None: no scale) of 68 points [68, 2]."""
    eyes = [points[part].mean(axis=0) for part in _EYES]
    kps = np.stack([*eyes, points[_NOSE], *points[list(_MOUTH)]]).astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    low = low - [0.0, _FOREHEAD * (high[1] - low[1])]
    return np.concatenate([low, high]).astype(np.float32), kps, similarity(kps)
