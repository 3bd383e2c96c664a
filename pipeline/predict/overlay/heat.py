"""The network's attention, as a heat map on the face.

Orange is above uniform attention, blue below, clear equal. Every point of the face shows the mean
of the regions around it, weighted by distance: a color means the same in every frame, and for any
number of regions.
"""

from __future__ import annotations

import cv2
import numpy as np

from arpgnet.pipeline.predict.rows import Regions, Row

# this multiple of uniform attention, or its inverse, has the most saturated color
TOP = 1.5
# standard deviation of a region's reach, in sides of the face's box: about half of the distance
# between regions of the 7 x 7 grid, and between landmark regions
REACH = 0.1
# what the colors are; the short form is for an image of 256 pixels
LEGENDS = (
    "attention: orange more, blue less; where the network reads, not why it predicts",
    "orange, blue: attention, not reasons",
)
# the face stays visible through the most saturated color
OPACITY = 0.7
# Okabe & Ito's vermilion and blue, as far apart for any color vision
MORE, LESS = (213, 94, 0), (0, 114, 178)
# sides of the map before it is enlarged, and how far it goes beyond the box
CELLS = 48
AROUND = 0.15


def heat(regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """Compute the logarithm of attention relative to uniform, to base `TOP`, and how near the
    regions are (0 to 1); float [CELLS, CELLS] each, over the box and a margin of `AROUND`."""
    visible = regions.times_uniform > 0
    line = -AROUND + (np.arange(CELLS) + 0.5) / CELLS * (1 + 2 * AROUND)
    where = regions.where[visible]
    near_x = np.exp(-((line[:, None] - where[:, 0]) ** 2) / (2 * REACH**2))
    near_y = np.exp(-((line[:, None] - where[:, 1]) ** 2) / (2 * REACH**2))
    logs = np.log(regions.times_uniform[visible]) / np.log(TOP)
    weight = near_y @ near_x.T
    level = (near_y * logs) @ near_x.T / np.maximum(weight, 1e-9)
    return level, np.minimum(1.0, weight)


def draw_heat(image: np.ndarray, row: Row) -> bool:
    """Color a face of an image, uint8 [H, W, 3], in place; return whether it is in the image."""
    if row.regions is None or row.box is None:
        return False
    corner, opposite = row.box[:2], row.box[2:]
    margin = AROUND * (opposite - corner)
    first = np.floor(corner - margin).astype(int)
    last = np.ceil(opposite + margin).astype(int)
    sides = image.shape[1::-1]
    x1, y1 = np.clip(first, 0, sides).tolist()
    x2, y2 = np.clip(last, 0, sides).tolist()
    if x2 <= x1 or y2 <= y1:
        return False
    level, near = heat(row.regions)
    colors = np.where(level[..., None] > 0, MORE, LESS)
    alpha = OPACITY * near * np.minimum(1.0, np.abs(level))
    layer = np.dstack([colors, 255 * alpha]).round().astype(np.uint8)
    part = (slice(y1 - first[1], y2 - first[1]), slice(x1 - first[0], x2 - first[0]))
    large = cv2.resize(layer, (last - first).tolist(), interpolation=cv2.INTER_LINEAR)[part]
    under = image[y1:y2, x1:x2].astype(np.float32)
    share = large[..., 3:].astype(np.float32) / 255
    image[y1:y2, x1:x2] = (under + share * (large[..., :3] - under)).round().astype(np.uint8)
    return True
