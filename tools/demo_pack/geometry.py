"""Similarity transforms between a still and the three networks' input crops.

A matrix is float64 `[2, 3]` and maps source pixels to crop pixels, as `cv2.warpAffine` takes it.
"""

import cv2
import numpy as np
from insightface.utils.face_align import arcface_dst
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Points = NDArray[np.floating]
Image = NDArray[np.uint8]

CROP_PX = 112
LANDMARK_PX = 192
# insightface's Landmark class shows the network 1.5 times the box
LANDMARK_MARGIN = 1.5


def apply(matrix: Matrix, points: Points) -> NDArray[np.float64]:
    """Transform points `[..., 2]`."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: Image, matrix: Matrix, side: int) -> Image:
    """The square crop of `side` pixels; black outside `image`, as insightface leaves it."""
    return np.asarray(cv2.warpAffine(image, matrix, (side, side)), np.uint8)


def resize(image: Image, side: int, *, interpolation: int = cv2.INTER_LINEAR) -> Image:
    """`image` stretched to a square of `side` pixels."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=interpolation), np.uint8)


def about(center: Points, target: Points, *, scale: float, degrees: float = 0.0) -> Matrix:
    """Scale and rotate about `center` `[2]`, which lands on `target` `[2]`."""
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target - rotation @ center])


def align(keypoints: Points) -> Matrix:
    """Least-squares similarity of 5 keypoints `[5, 2]` onto the 112-pixel ArcFace template.

    Closed form of Umeyama (1991) in two dimensions; equals insightface's `estimate_norm`.
    """
    source_mean, target_mean = keypoints.mean(0), arcface_dst.mean(0)
    x, y = (keypoints - source_mean).astype(np.float64).T
    u, v = (arcface_dst - target_mean).astype(np.float64).T
    spread = (x * x + y * y).sum()
    cos, sin = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def landmark_crop(box: Points) -> Matrix:
    """The crop insightface's Landmark class cuts round a box `[4]` xyxy."""
    width, height = box[2] - box[0], box[3] - box[1]
    center = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    scale = LANDMARK_PX / (max(width, height) * LANDMARK_MARGIN)
    return about(center, np.full(2, LANDMARK_PX / 2), scale=scale)


def transformed_box(matrix: Matrix, box: Points, landmarks: Points) -> NDArray[np.float64]:
    """The box `[4]` of a transformed face.

    A rotated box would grow; instead the margins the box leaves round the landmarks `[P, 2]`
    are kept, scaled, round the transformed landmarks.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    moved = apply(matrix, landmarks)
    low = moved.min(0) + scale * (box[:2] - landmarks.min(0))
    high = moved.max(0) + scale * (box[2:] - landmarks.max(0))
    return np.concatenate([low, high])


def pixels_to_unit(points: Points, extent: int) -> NDArray[np.float64]:
    """Crop pixels to [-1, 1], the inverse of insightface's `(pred + 1) * (extent // 2)`."""
    return points / (extent // 2) - 1
