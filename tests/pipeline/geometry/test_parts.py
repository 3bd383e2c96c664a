"""The auxiliary view is what its description says, pixel by pixel."""

import numpy as np
import pytest

from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX
from arpgnet.pipeline.geometry.parts import assemble_parts, key_points

WHOLE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)


def smooth(px: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:px, :px] / px
    waves = [np.sin(6 * (a * x + b * y) + c) for a, b, c in rng.random((3, 3))]
    return (127 + 100 * np.stack(waves, -1)).round().astype(np.uint8)


def at(crop: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear, with the border repeated."""
    left, top = np.floor([x, y]).astype(int)
    total = np.zeros(3)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = abs(1 - dx - (x - left)) * abs(1 - dy - (y - top))
            column, row = np.clip([left + dx, top + dy], 0, len(crop) - 1)
            total += weight * crop[row, column]
    return total


def plain(crop: np.ndarray, points: np.ndarray, row: int, column: int) -> np.ndarray:
    px, half = len(crop), len(crop) // 2
    scale, raised = (36 / 112 * px) / half, 6 / 112 * px
    if row < half:
        eye = points[0 if column < half else 1] - [0, raised]
        u = column % half - (half - 1) / 2
        return at(crop, *(eye + scale * np.array([u, row - (half - 1) / 2])))
    mouth = (points[3] + points[4]) / 2
    u, v = column - (px - 1) / 2, row - half - (half - 1) / 2
    return at(crop, *(mouth + scale * np.array([u, v])))


@pytest.mark.parametrize("px", [112, 224])
def test_pixels_are_those_of_the_description(px: int) -> None:
    crop = smooth(px)
    points = key_points(ARCFACE_TEMPLATE[None], WHOLE[None], px)
    np.testing.assert_allclose(points[0] + 0.5, (ARCFACE_TEMPLATE + 0.5) * px / 112, rtol=1e-6)
    # a mouth so low that its patch leaves the crop
    points[0, 3:] += [5.0, 12.0 * px / 112]
    view = assemble_parts(crop[None], points)[0]
    assert view.shape == crop.shape
    rng = np.random.default_rng(1)
    for row, column in rng.integers(0, px, (200, 2)):
        expected = plain(crop, points[0].astype(np.float64), row, column)
        # OpenCV interpolates at 32nds of a pixel
        assert np.abs(view[row, column] - expected).max() <= 2, (row, column)


def test_a_mirrored_face_has_the_mirrored_view() -> None:
    crop, points = smooth(CROP_PX), ARCFACE_TEMPLATE[None].copy()
    mirrored = points[:, [1, 0, 2, 4, 3]] * [-1, 1] + [CROP_PX - 1, 0]
    view = assemble_parts(crop[None], points)[0]
    other = assemble_parts(np.ascontiguousarray(crop[None, :, ::-1]), mirrored)[0]
    assert np.abs(other.astype(int) - view[:, ::-1]).max() <= 2


def test_points_follow_the_alignment() -> None:
    matrix = np.array([[0.5, 0.1, -3.0], [-0.1, 0.5, 7.0]], np.float32)
    kps = np.random.default_rng(0).uniform(0, 200, (4, 5, 2)).astype(np.float32)
    found = key_points(kps, np.stack([matrix] * 4), CROP_PX)
    np.testing.assert_allclose(found, kps @ matrix[:, :2].T + matrix[:, 2], atol=1e-4)
