"""An aligned face with its landmarks and its region graph drawn on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.regions.topology import SYMMETRIC

# Okabe & Ito's palette, distinguishable with any colour vision (jfly.uni-koeln.de/color), RGB
BLUE = (0, 114, 178)
ORANGE = (230, 159, 0)
YELLOW = (240, 228, 66)
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
SHIFT = 4  # OpenCV draws in 1/16 pixel
BOW = 0.12  # a symmetric edge bends by this part of its length, clear of the nodes between

Image = npt.NDArray[np.uint8]


def draw_graph(
    crop_rgb: Image,
    points: np.ndarray,
    node_xy: np.ndarray,
    edges: Sequence[Sequence[int]],
    edge_types: Sequence[str],
    visible: np.ndarray,
    *,
    scale: int = 3,
) -> Image:
    """Landmarks as dots, adjacent edges blue, symmetric edges orange and bowed, nodes as discs.

    Args:
        crop_rgb: uint8 [S, S, 3], the aligned crop.
        points: landmarks [P, 2] in crop pixels.
        node_xy: region centres [N, 2] in crop coordinates from 0 to 1.
        edges: pairs of node numbers; of an edge's two directions one is drawn.
        edge_types: `"adjacent"` or `"symmetric"` for each edge.
        visible: [N]; nodes that are 0 are drawn hollow (white in a blue ring) and their
            edges thin.
        scale: enlargement of the crop.

    Returns:
        uint8 [S * scale, S * scale, 3], RGB.
    """
    side = crop_rgb.shape[0] * scale
    image: Image = np.asarray(
        cv2.resize(crop_rgb, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
    )
    nodes = node_xy * side
    for kind, colour in ((SYMMETRIC, ORANGE), ("adjacent", BLUE)):
        drawn = np.zeros_like(image)
        for (start, end), edge_type in zip(edges, edge_types, strict=True):
            if edge_type == kind and start < end:
                seen = bool(visible[start] and visible[end])
                curve = _bowed(nodes[start], nodes[end], BOW if kind == SYMMETRIC else 0.0)
                width = max(1, round(scale / 2)) if seen else 1
                cv2.polylines(drawn, [curve], False, WHITE, width, cv2.LINE_AA, SHIFT)
        strength = 0.8 * drawn[..., :1] / 255.0
        blended = image * (1 - strength) + np.array(colour) * strength
        image = np.asarray(blended.round(), dtype=np.uint8)
    for point in (points + 0.5) * scale:
        _disc(image, point, scale / 3 + 0.7, BLACK)
        _disc(image, point, scale / 3, YELLOW)
    for node, seen in zip(nodes, visible, strict=True):
        outer, inner = (WHITE, BLUE) if seen else (BLUE, WHITE)
        _disc(image, node, scale + 1.0, outer)
        _disc(image, node, scale - 0.25, inner)
    return image


def _disc(image: Image, centre: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    x, y, r = _fixed(np.append(centre, radius + 0.5)).tolist()
    cv2.circle(image, (x, y), r, colour, -1, cv2.LINE_AA, SHIFT)


def _fixed(position: np.ndarray) -> npt.NDArray[np.int32]:
    """Positions between pixel edges as OpenCV's fixed-point positions of pixel centres."""
    return np.round((position - 0.5) * (1 << SHIFT)).astype(np.int32)


def _bowed(start: np.ndarray, end: np.ndarray, bow: float) -> npt.NDArray[np.int32]:
    """A quadratic Bezier curve that leaves the straight line downwards by `bow` of its length."""
    across = (end - start)[::-1] * (-1.0, 1.0)
    across = across if across[1] >= 0 else -across
    middle = (start + end) / 2 + 2 * bow * across
    t = np.linspace(0.0, 1.0, 17)[:, None]
    return _fixed((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)
