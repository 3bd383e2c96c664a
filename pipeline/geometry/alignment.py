"""5-point alignment: the similarity that puts a face on ArcFace's template, and the crop.

Positions in a crop, matrices and landmarks are those of the crop of 112 pixels, whatever a network
takes: a crop of another size shows the same square of the image in more or fewer pixels.

Beside it the context: an upright square round the face's box, for networks that find landmarks.

Closed form in place of scikit-image's estimator, which insightface calls: the same matrix
(largest difference 2e-5) in 33 us instead of 245 us, without a FutureWarning a call.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

CROP_PX = 112

# image-left eye, image-right eye, nose, image-left and image-right mouth corner in a 112 px
# crop; Deng et al., ArcFace, arXiv:1801.07698, as in insightface.utils.face_align
ARCFACE_TEMPLATE: NDArray[np.float32] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)

# What InsightFace's landmark networks see of a face: a square of 1.5 times the box's longer side,
# not turned, at 192 pixels. Stored once per frame, it saves them decoding the whole image again.
CONTEXT_PX = 192
CONTEXT_SCALE = 1.5

# five points this close together (root mean square, px) carry no scale or angle
MIN_SPREAD_PX = 1.0


def similarity(points: NDArray[np.floating]) -> NDArray[np.float32] | None:
    """Return the least-squares similarity from image to crop, `x_crop = matrix @ [x, y, 1]`.

    With centered points p and template q, rotation and scale are the complex number
    `sum(conj(p) q) / sum(|p|^2)`; this is Umeyama (1991, doi 10.1109/34.88573) in the plane,
    reflections excluded.

    Args:
        points: `[5, 2]` in image pixels, in the order of `ARCFACE_TEMPLATE`.

    Returns:
        float32 `[2, 3]`, or None for points that are not finite, (nearly) coincide, or give
        no scale.
    """
    if not np.isfinite(points).all():
        return None
    p = points.astype(np.float64)
    q = ARCFACE_TEMPLATE.astype(np.float64)
    p_mean, q_mean = p.mean(axis=0), q.mean(axis=0)
    p, q = p - p_mean, q - q_mean
    spread = float((p**2).sum())
    if spread < len(p) * MIN_SPREAD_PX**2:
        return None
    a = float((p * q).sum()) / spread
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / spread
    linear = np.array([[a, -b], [b, a]])
    # as low as this, the crop shows the whole image in a few pixels
    if np.hypot(a, b) < 1e-4:
        return None
    return np.column_stack([linear, q_mean - linear @ p_mean]).astype(np.float32)


def warp(
    image: NDArray[np.uint8], matrix: NDArray[np.float32], side: int = CROP_PX
) -> NDArray[np.uint8]:
    """Return the aligned crop, uint8 `[side, side, C]`; what lies outside the image is black.

    Args:
        matrix: `[2, 3]`, image to the crop of 112 pixels.
    """
    scaled = matrix if side == CROP_PX else _scaled(matrix, side)
    crop = cv2.warpAffine(image, scaled, (side, side), borderValue=(0, 0, 0))
    return np.asarray(crop, dtype=np.uint8)


def _scaled(matrix: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Return the matrix to a crop of another size; whole numbers are pixel centers in both."""
    scaled = np.asarray(matrix, dtype=np.float64) * (side / CROP_PX)
    scaled[:, 2] += (side / CROP_PX - 1) / 2
    return scaled


def template(side: int) -> NDArray[np.float64]:
    """Return `ARCFACE_TEMPLATE` in the pixels of a crop of `side` pixels."""
    return (ARCFACE_TEMPLATE.astype(np.float64) + 0.5) * (side / CROP_PX) - 0.5


def context(image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut the square round a box (x1 y1 x2 y2), uint8 `[192, 192, C]`; black outside."""
    matrix = square_matrix(box, CONTEXT_PX, CONTEXT_SCALE)
    square = cv2.warpAffine(image, matrix, (CONTEXT_PX, CONTEXT_PX), borderValue=(0, 0, 0))
    return np.asarray(square, dtype=np.uint8)


def square_matrix(box: NDArray[np.floating], side: int, scale: float) -> NDArray[np.float64]:
    """Return the 2x3 matrix that maps a square around the box's center to `side` x `side` pixels.

    The square's side is `scale` times the box's longer side; InsightFace's
    `face_align.transform` without rotation.
    """
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float64)
    # a box of no width, which a detector may give at the border, has no scale: take a pixel
    zoom = side / (max(x2 - x1, y2 - y1, 1.0) * scale)
    return np.array(
        [
            [zoom, 0.0, side / 2 - zoom * (x1 + x2) / 2],
            [0.0, zoom, side / 2 - zoom * (y1 + y2) / 2],
        ]
    )


def apply(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float32]:
    """Return points `[..., 2]` through a `[2, 3]` matrix; computed in float64."""
    exact = np.asarray(matrix, dtype=np.float64)
    moved = np.asarray(points) @ exact[:, :2].T + exact[:, 2]
    return moved.astype(np.float32)


# 10 kB per face instead of 110 kB
CONTEXT_QUALITY = 95
