"""Coordinates of the aligned crop, of a feature map over it, and what of them shows face.

T frames, P landmarks, S sample points. A crop position is in pixels of a crop of 112, where whole
numbers are pixel centers as in OpenCV; divided coordinates run from 0 to 1 between the crop's outer
edges: `(pixels + 0.5) / 112`, so that a horizontal flip is `x -> 1 - x` exactly.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from arpgnet.pipeline.geometry.alignment import CROP_PX
from arpgnet.pipeline.geometry.landmark_schemes import scheme_indices

# share of the brow-to-chin distance that lies above the brows: the neoclassical canon of equal
# facial thirds (hairline to brow = brow to nose base = nose base to chin; Farkas et al. 1985)
FOREHEAD = 0.5
# the contour points lie on the outline itself, and are 3-5 % of the face width off
DILATION = 1.05

Floats = npt.NDArray[np.floating]


def divided(pixels: Floats) -> Floats:
    """Crop pixels to crop coordinates between 0 and 1."""
    return (pixels + 0.5) / CROP_PX


def cell_centers(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return centers [rows * columns, 2] (x, y) of a grid over the crop, row by row, in 0..1."""
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def map_cells(rows: int, columns: int, first: float, step: float) -> npt.NDArray[np.float64]:
    """Crop pixels [rows * columns, 2] (x, y) that a map's cells look at; see `map_centers`."""
    x, y = np.meshgrid(first + step * np.arange(columns), first + step * np.arange(rows))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def upward(points: Floats, scheme: str) -> Floats:
    """Return the vector from the chin to between the brows: [T, P, 2] -> [T, 2]."""
    part = scheme_indices(scheme)
    brows = points[:, [*part["brow_left"], *part["brow_right"]]].mean(axis=1)
    return brows - points[:, part["chin"][0]]


def face_hulls(points: Floats, scheme: str) -> list[npt.NDArray[np.float32]]:
    """Return convex outline of each face, forehead included, slightly widened.

    Args:
        points: landmarks [T, P, 2].

    Returns:
        T polygons [V, 2] in the landmarks' coordinates.
    """
    part = scheme_indices(scheme)
    brows = points[:, [*part["brow_left"], *part["brow_right"]]]
    hairline = brows + FOREHEAD * upward(points, scheme)[:, None]
    everything = np.concatenate([points, hairline], axis=1)
    center = everything.mean(axis=1, keepdims=True)
    wide = (center + DILATION * (everything - center)).astype(np.float32)
    return [cv2.convexHull(face)[:, 0] for face in wide]


def inside_hull(hull: Floats, samples: Floats) -> npt.NDArray[np.bool_]:
    """Return which of the samples [S, 2] lie inside a convex polygon [V, 2] or on it: bool [S].

    Nothing lies inside a polygon without area.
    """
    if len(hull) < 3:
        return np.zeros(len(samples), dtype=bool)
    edge = np.roll(hull, -1, axis=0) - hull
    to_sample = samples[:, None] - hull[None]
    cross = edge[None, :, 0] * to_sample[..., 1] - edge[None, :, 1] * to_sample[..., 0]
    inside: npt.NDArray[np.bool_] = np.all(cross >= 0, axis=1) | np.all(cross <= 0, axis=1)
    return inside


def inside_frame(matrix: Floats, samples: Floats, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return which crop samples show image and not the border that alignment had to fill in.

    Args:
        matrix: 2x3, image to crop pixels.
        samples: crop pixels [S, 2].
        width, height: of the frame, pixels.
    """
    inverse = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    x, y = (samples @ inverse[:, :2].T + inverse[:, 2]).T
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
