"""5-point alignment against insightface's own, and its properties."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from insightface.utils import face_align

from arpgnet.pipeline.geometry.alignment import (
    ARCFACE_TEMPLATE,
    apply,
    similarity,
    template,
    warp,
)


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The template, turned (radians), scaled and moved."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return ARCFACE_TEMPLATE @ np.array([[c, s], [-s, c]]) + np.array(shift)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_insightface(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shift = tuple(rng.uniform(0, 600, 2))
    points = turned(rng.uniform(-3, 3), rng.uniform(0.3, 5), shift) + rng.normal(0, 3, (5, 2))
    points = points.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = face_align.estimate_norm(points)
    ours = similarity(points)
    assert ours is not None
    # the linear part is of order 1, the shift of order 1000 px
    np.testing.assert_allclose(ours[:, :2], theirs[:, :2], atol=1e-4)
    np.testing.assert_allclose(
        apply(ours, points), points @ theirs[:, :2].T + theirs[:, 2], atol=1e-3
    )


def test_the_template_is_insightfaces() -> None:
    np.testing.assert_array_equal(ARCFACE_TEMPLATE, face_align.arcface_dst)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-3.1, 3.1),
    st.floats(0.1, 10),
    st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)),
)
def test_any_similarity_of_the_template_is_undone(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    points = turned(angle, scale, shift)
    matrix = similarity(points)
    assert matrix is not None
    np.testing.assert_allclose(apply(matrix, points), ARCFACE_TEMPLATE, atol=0.02)
    # a similarity: equal scale on both axes, no mirror
    assert np.isclose(matrix[0, 0], matrix[1, 1])
    assert np.isclose(matrix[0, 1], -matrix[1, 0])


def test_it_is_the_least_squares_optimum() -> None:
    rng = np.random.default_rng(0)
    points = ARCFACE_TEMPLATE * 2 + rng.normal(0, 4, (5, 2))
    best = similarity(points)
    assert best is not None

    def loss(matrix: np.ndarray) -> float:
        return float(((points @ matrix[:, :2].T + matrix[:, 2] - ARCFACE_TEMPLATE) ** 2).sum())

    for _ in range(200):
        a, b, x, y = rng.normal(0, 0.01, 4)
        other = best.astype(np.float64) + np.array([[a, -b, x], [b, a, y]])
        assert loss(other) >= loss(best.astype(np.float64)) - 1e-4


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), np.nan),
        np.full((5, 2), 40.0),
        np.full((5, 2), 40.0) + np.linspace(0, 0.1, 10).reshape(5, 2),
        np.where(np.arange(10).reshape(5, 2) == 3, np.inf, ARCFACE_TEMPLATE),
    ],
)
def test_degenerate_points_have_no_alignment(points: np.ndarray) -> None:
    assert similarity(points) is None


@pytest.mark.parametrize("side", [112, 224, 160])
def test_warp_puts_the_pixels_where_the_matrix_says(side: int) -> None:
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    points = turned(0.4, 2.0, (60, 20))
    for point, color in zip(points, np.eye(5, 3) * 155 + 100, strict=True):
        x, y = np.rint(point).astype(int)
        image[y - 6 : y + 7, x - 6 : x + 7] = color
    matrix = similarity(points)
    assert matrix is not None
    crop = warp(image, matrix, side)
    assert crop.shape == (side, side, 3)
    for point, color in zip(template(side), np.eye(5, 3) * 155 + 100, strict=True):
        x, y = np.rint(point).astype(int)
        np.testing.assert_allclose(crop[y, x], color, atol=2)


def test_a_larger_crop_shows_the_same_square_in_more_pixels() -> None:
    """Four pixels in the place of one, and not those of a crop that was enlarged."""
    fine = np.random.default_rng(0).integers(0, 256, (80, 80, 1)).astype(np.uint8)
    image = cv2.resize(fine, (640, 640), interpolation=cv2.INTER_CUBIC)[..., None]
    matrix = similarity(turned(0.3, 4.0, (320, 240)))
    assert matrix is not None
    small, large = (warp(image, matrix, side).squeeze().astype(float) for side in (112, 224))
    together = large.reshape(112, 2, 112, 2).mean(axis=(1, 3))
    assert np.abs(small - together).mean() < 3
    shifted = np.roll(large, 1, axis=1).reshape(112, 2, 112, 2).mean(axis=(1, 3))
    assert np.abs(small - shifted).mean() > 5
    enlarged = cv2.resize(small, (224, 224), interpolation=cv2.INTER_CUBIC)
    assert np.abs(large - enlarged).mean() > 1


def test_outside_the_image_is_black() -> None:
    white = np.full((50, 50, 3), 255, dtype=np.uint8)
    far = similarity(ARCFACE_TEMPLATE + 500)
    assert far is not None
    assert warp(white, far).max() == 0
