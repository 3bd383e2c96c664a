"""SCRFD's anchors, and which of them answers for which face.

Shape letters: K anchors of one level, G faces of one image. Distances are in strides, from the
anchor center at (column, row) * stride, as insightface's SCRFD class decodes them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.demo_pack.nets import ANCHORS_PER_CELL, KEYPOINTS, STRIDES

Floats = NDArray[np.float32]

# nominal face sizes in pixels of the two anchors of a cell, per stride, as in SCRFD
_SIZES = {8: (16.0, 32.0), 16: (64.0, 128.0), 32: (256.0, 512.0)}
# octaves between a face and an anchor's nominal size: neighbors overlap by half an octave
_POSITIVE_OCTAVES, _IGNORED_OCTAVES = 0.75, 1.25
# reach of positive cells round the face's center, as a fraction of its size; at least one cell
_REACH, _IGNORED_REACH = 0.12, 0.22
_REACH_IN_STRIDES, _IGNORED_REACH_IN_STRIDES = 0.6, 1.2


@dataclass(frozen=True)
class LevelTargets:
    """Targets of one level and image.

    labels int8 `[K]` (1 face, 0 background, -1 ignored), boxes `[K, 4]` and keypoints `[K, 10]`
    as distances, sizes `[K]` the anchors' nominal size in strides.
    """

    labels: NDArray[np.int8]
    boxes: Floats
    keypoints: Floats
    sizes: Floats


def centers(height: int, width: int, stride: int) -> Floats:
    """Anchor centers `[K, 2]` in pixels, anchors of a cell adjacent, rows first."""
    rows, columns = np.mgrid[: height // stride, : width // stride]
    cells = np.stack([columns, rows], -1).reshape(-1, 2) * stride
    return np.repeat(cells, ANCHORS_PER_CELL, axis=0).astype(np.float32)


def assign(
    boxes: NDArray[np.floating], keypoints: NDArray[np.floating], height: int, width: int
) -> list[LevelTargets]:
    """Targets of every level for faces with boxes `[G, 4]` xyxy and keypoints `[G, 5, 2]`."""
    return [_assign_level(boxes, keypoints, height, width, stride) for stride in STRIDES]


def _assign_level(
    boxes: NDArray[np.floating],
    keypoints: NDArray[np.floating],
    height: int,
    width: int,
    stride: int,
) -> LevelTargets:
    points = centers(height, width, stride)
    count = len(points)
    sizes = np.tile(np.array(_SIZES[stride], np.float32) / stride, count // ANCHORS_PER_CELL)
    targets = LevelTargets(
        np.zeros(count, np.int8),
        np.zeros((count, 4), np.float32),
        np.zeros((count, KEYPOINTS * 2), np.float32),
        sizes.astype(np.float32),
    )
    for box, face_keypoints in zip(boxes, keypoints, strict=True):
        center, extent = (box[:2] + box[2:]) / 2, np.sqrt(np.prod(box[2:] - box[:2]))
        offset = np.abs(points - center).max(1)
        octaves = np.abs(np.log2(extent / (sizes * stride)))
        near = offset <= max(_REACH * extent, _REACH_IN_STRIDES * stride)
        around = offset <= max(_IGNORED_REACH * extent, _IGNORED_REACH_IN_STRIDES * stride)
        positive = near & (octaves <= _POSITIVE_OCTAVES)
        ignored = around & (octaves <= _IGNORED_OCTAVES) & (targets.labels == 0)
        targets.labels[ignored] = -1
        targets.labels[positive] = 1
        low, high = points[positive] - box[:2], box[2:] - points[positive]
        targets.boxes[positive] = np.concatenate([low, high], 1) / stride
        to_keypoints = face_keypoints[None] - points[positive][:, None]
        targets.keypoints[positive] = to_keypoints.reshape(-1, KEYPOINTS * 2) / stride
    return targets
