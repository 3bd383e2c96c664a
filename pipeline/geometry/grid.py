"""Grid regions: the crop cut into P x P patches, as the paper cuts the CNN's map.

N = P * P regions, row by row. Joined are patches that touch (4 or 8 neighbors) and patches that
mirror each other across the face's vertical midline.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arpgnet.pipeline.geometry.alignment import CROP_PX
from arpgnet.pipeline.geometry.crop import (
    Floats,
    cell_centers,
    face_hulls,
    inside_frame,
    inside_hull,
)
from arpgnet.pipeline.geometry.topology import Pair, Topology, build_topology

# a patch counts as visible when at least half of these many points a side show face
SAMPLES_PER_SIDE = 4
VISIBLE_SHARE = 0.5


def grid_topology(patches: int, neighborhood: int) -> Topology:
    """Return the graph of `patches` x `patches` regions with 4- or 8-neighbor adjacency."""
    steps = ((0, 1), (1, 0)) if neighborhood == 4 else ((0, 1), (1, 0), (1, 1), (1, -1))
    cells = [(row, column) for row in range(patches) for column in range(patches)]
    adjacent: list[Pair] = [
        (row * patches + column, (row + down) * patches + column + right)
        for row, column in cells
        for down, right in steps
        if row + down < patches and 0 <= column + right < patches
    ]
    return build_topology(
        names=(f"row {row + 1}, column {column + 1}" for row, column in cells),
        adjacent=adjacent,
        mirror=(row * patches + patches - 1 - column for row, column in cells),
    )


def grid_pooling(patches: int, height: int, width: int) -> Floats:
    """Return adaptive average pooling as a matrix [N, height * width] whose rows sum to 1.

    Bin i of P over n cells covers floor(i n / P) up to ceil((i + 1) n / P), as in
    `torch.nn.functional.adaptive_avg_pool2d`; with P > n cells are repeated.
    """
    return np.kron(_bins(patches, height), _bins(patches, width))


def _bins(count: int, cells: int) -> npt.NDArray[np.float64]:
    weights = np.zeros((count, cells))
    for index in range(count):
        first, last = index * cells // count, -(-(index + 1) * cells // count)
        weights[index, first:last] = 1.0 / (last - first)
    return weights


def grid_nodes(patches: int) -> npt.NDArray[np.float64]:
    """Return patch centers [N, 2] (x, y) in crop coordinates from 0 to 1."""
    return cell_centers(patches, patches)


def grid_visible(
    patches: int, points: Floats, matrices: Floats, frame_wh: Floats, scheme: str
) -> npt.NDArray[np.float32]:
    """Return which patches show the face.

    Args:
        points: landmarks [T, P, 2], crop pixels.
        matrices: [T, 2, 3], image to crop.
        frame_wh: [T, 2], pixels.

    Returns:
        0 or 1, [T, N]: at least half of the patch lies inside the face's outline and inside
        the frame.
    """
    fine = patches * SAMPLES_PER_SIDE
    samples = cell_centers(fine, fine) * CROP_PX - 0.5
    visible = np.zeros((len(points), patches * patches), dtype=np.float32)
    for frame, hull in enumerate(face_hulls(points, scheme)):
        width, height = frame_wh[frame]
        seen = inside_hull(hull, samples) & inside_frame(matrices[frame], samples, width, height)
        blocks = seen.reshape(patches, SAMPLES_PER_SIDE, patches, SAMPLES_PER_SIDE)
        visible[frame] = blocks.mean(axis=(1, 3)).ravel() >= VISIBLE_SHARE
    return visible
