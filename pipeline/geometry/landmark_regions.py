"""Landmark regions: twenty parts of the face that follow its landmarks.

Each region has one or more anchors, points that are a fixed weighted sum of landmarks. The node
stands at the mean of its anchors; its feature is pooled from the map with Gaussian weights around
them, so that a long region (a brow, a lip) has a long footprint.

T frames, P landmarks, A anchors, N = 20 regions, h x w cells of the map.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from arpgnet.pipeline.geometry.alignment import CROP_PX
from arpgnet.pipeline.geometry.crop import (
    FOREHEAD,
    Floats,
    divided,
    face_hulls,
    inside_frame,
    inside_hull,
)
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, scheme_indices
from arpgnet.pipeline.geometry.topology import Pair, Topology, build_topology

SIDED = ("forehead", "brow", "eye", "nostril", "cheek", "mouth_corner", "jaw")
CENTRAL = ("glabella", "nose_bridge", "nose_tip", "upper_lip", "lower_lip", "chin")
NAMES = (*(f"{part}_{side}" for part in SIDED for side in ("left", "right")), *CENTRAL)

# who touches whom; `*` stands for either side
NEIGHBORS = (
    ("forehead_left", "forehead_right"),
    ("forehead_*", "brow_*"),
    ("forehead_*", "glabella"),
    ("brow_*", "glabella"),
    ("brow_*", "eye_*"),
    ("eye_*", "nose_bridge"),
    ("eye_*", "cheek_*"),
    ("glabella", "nose_bridge"),
    ("nose_bridge", "nose_tip"),
    ("nose_tip", "nostril_*"),
    ("nose_tip", "upper_lip"),
    ("nostril_*", "cheek_*"),
    ("nostril_*", "upper_lip"),
    ("nostril_*", "mouth_corner_*"),
    ("cheek_*", "mouth_corner_*"),
    ("cheek_*", "jaw_*"),
    ("mouth_corner_*", "upper_lip"),
    ("mouth_corner_*", "lower_lip"),
    ("mouth_corner_*", "jaw_*"),
    ("upper_lip", "lower_lip"),
    ("lower_lip", "chin"),
    ("jaw_*", "chin"),
)

# 8 of the crop's 112 pixels, half a cell of a 7 x 7 map: the narrowest Gaussian that does not
# miss between two cell centers; on finer maps it stays about a quarter of the eye distance
SIGMA = 8.0


def landmark_topology() -> Topology:
    """Return the graph of anatomical neighbors and symmetric pairs; the same for all schemes."""
    index = {name: number for number, name in enumerate(NAMES)}
    adjacent: list[Pair] = []
    for first, second in NEIGHBORS:
        sides = ("left", "right") if "*" in first + second else ("",)
        adjacent += [
            (index[first.replace("*", side)], index[second.replace("*", side)]) for side in sides
        ]
    return build_topology(NAMES, adjacent, (index[_other_side(name)] for name in NAMES))


def _other_side(name: str) -> str:
    if name.endswith("_left"):
        return name.replace("_left", "_right")
    return name.replace("_right", "_left")


@lru_cache
def anchor_weights(scheme: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how anchors arise from landmarks, and regions from anchors.

    Returns:
        Landmarks to anchors [A, P] and anchors to regions [N, A]; all rows sum to 1.
    """
    part = scheme_indices(scheme)
    points = SCHEMES[scheme].points

    def mean(*indices: int) -> npt.NDArray[np.float64]:
        row = np.zeros(points)
        np.add.at(row, list(indices), 1.0 / len(indices))
        return row

    def each(indices: tuple[int, ...]) -> list[npt.NDArray[np.float64]]:
        return [mean(index) for index in indices]

    chin = mean(*part["chin"])
    glabella = mean(*part["brow_inner_left"], *part["brow_inner_right"])
    brows = mean(*part["brow_left"], *part["brow_right"])
    # the middle of the forehead: half way from the brows to the hairline
    raised = 0.5 * FOREHEAD * (brows - chin)
    anchors = {
        "glabella": [glabella],
        "nose_bridge": each(part["nose_bridge"]),
        "nose_tip": each(part["nose_tip"]),
        "upper_lip": each(part["upper_lip"]),
        "lower_lip": each(part["lower_lip"]),
        "chin": [0.5 * (chin + mean(*part["lower_lip_outer"]))],
    }
    for side in ("left", "right"):
        brow, eye = mean(*part[f"brow_{side}"]), mean(*part[f"eye_{side}"])
        corner, nostril = mean(*part[f"mouth_corner_{side}"]), mean(*part[f"nostril_{side}"])
        contour = part["contour"] if side == "left" else part["contour"][::-1]
        # the contour runs from the ear (0) to the chin (1 / 2): 1 / 8 lies beside the cheek bone,
        # 1 / 4 to 3 / 8 along the lower jaw
        steps = len(contour) - 1
        cheekbone = mean(contour[steps // 8])
        jaw = mean(*contour[steps // 4 : 3 * steps // 8 + 1])
        anchors |= {
            f"forehead_{side}": [brow + raised],
            f"brow_{side}": each(part[f"brow_{side}"]),
            f"eye_{side}": each(part[f"eye_{side}"]),
            f"nostril_{side}": [nostril],
            f"cheek_{side}": [(eye + nostril + 2 * cheekbone) / 4],
            f"mouth_corner_{side}": [corner],
            f"jaw_{side}": [0.6 * jaw + 0.4 * corner],
        }
    rows = [row for name in NAMES for row in anchors[name]]
    counts = [len(anchors[name]) for name in NAMES]
    membership = np.repeat(np.eye(len(NAMES)) / np.array(counts)[:, None], counts, axis=1)
    return np.stack(rows), membership


def landmark_nodes(points: Floats, scheme: str) -> Floats:
    """Place regions: landmarks [T, P, 2], crop pixels -> [T, N, 2], crop coordinates 0..1."""
    to_anchors, to_regions = anchor_weights(scheme)
    return divided((to_regions @ to_anchors) @ points)


def landmark_pooling(points: Floats, scheme: str, cells: Floats) -> Floats:
    """Return where on the map each region lies.

    Args:
        points: landmarks [T, P, 2], crop pixels.
        cells: crop pixels [h * w, 2] (x, y) that the map's cells look at, row by row.

    Returns:
        [T, N, h * w], rows sum to 1. Every anchor's Gaussian is normalized over the cells,
        so an anchor outside the crop pools the nearest cells instead of vanishing.
    """
    to_anchors, to_regions = anchor_weights(scheme)
    anchors = to_anchors @ points  # [T, A, 2]
    squared = ((anchors[:, :, None] - cells) ** 2).sum(axis=-1)  # [T, A, hw]
    nearest = squared.min(axis=-1, keepdims=True)
    weights = np.exp(-(squared - nearest) / (2 * SIGMA**2))
    weights /= weights.sum(axis=-1, keepdims=True)
    return to_regions @ weights


def landmark_visible(
    points: Floats, matrices: Floats, frame_wh: Floats, scheme: str
) -> npt.NDArray[np.float32]:
    """Return which regions' centers lie in the crop, in the frame and inside the face's outline.

    Arguments as in `grid_visible`. Returns 0 or 1, [T, N].
    """
    nodes = landmark_nodes(points, scheme)
    pixels = nodes * CROP_PX - 0.5
    visible: npt.NDArray[np.bool_] = np.all((nodes >= 0) & (nodes <= 1), axis=-1)
    for frame, hull in enumerate(face_hulls(points, scheme)):
        width, height = frame_wh[frame]
        visible[frame] &= inside_hull(hull, pixels[frame])
        visible[frame] &= inside_frame(matrices[frame], pixels[frame], width, height)
    return visible.astype(np.float32)
