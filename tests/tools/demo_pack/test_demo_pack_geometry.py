"""Crop transforms equal insightface's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from insightface.utils import face_align

from tools.demo_pack import geometry

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_alignment_equals_insightface(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = geometry.about(
        np.full(2, 56.0), rng.uniform(0, 200, 2), scale=rng.uniform(0.5, 3), degrees=40
    )
    keypoints = geometry.apply(matrix, face_align.arcface_dst) + rng.normal(0, 2, (5, 2))
    np.testing.assert_allclose(
        geometry.align(keypoints), face_align.estimate_norm(keypoints), atol=1e-4
    )


@given(seeds)
def test_landmark_crop_equals_insightface(seed: int) -> None:
    low, extent = np.random.default_rng(seed).uniform(10, 100, (2, 2))
    box = np.concatenate([low, low + extent])
    scale = geometry.LANDMARK_PX / (max(extent) * geometry.LANDMARK_MARGIN)
    image = np.zeros((8, 8, 3), np.uint8)
    _, expected = face_align.transform(image, low + extent / 2, geometry.LANDMARK_PX, scale, 0)
    np.testing.assert_allclose(geometry.landmark_crop(box), expected, atol=1e-6)


def test_a_transformed_box_keeps_its_margins_round_the_landmarks() -> None:
    landmarks = np.array([[40.0, 50], [80, 50], [60, 90]])
    box = np.array([30.0, 30, 85, 100])
    matrix = geometry.about(np.array([60.0, 70]), np.array([10.0, 20]), scale=2)
    np.testing.assert_allclose(
        geometry.transformed_box(matrix, box, landmarks),
        [*geometry.apply(matrix, box[:2]), *geometry.apply(matrix, box[2:])],
    )
    quarter = geometry.about(np.array([60.0, 70]), np.array([60.0, 70]), scale=1, degrees=90)
    moved = geometry.apply(quarter, landmarks)
    turned = geometry.transformed_box(quarter, box, landmarks)
    np.testing.assert_allclose(turned[:2], moved.min(0) - np.array([10, 20]))
    np.testing.assert_allclose(turned[2:], moved.max(0) + np.array([5, 10]))


@pytest.mark.parametrize("extent", [112, 192])
def test_unit_coordinates_invert_insightfaces_decoding(extent: int) -> None:
    points = np.random.default_rng(0).uniform(0, extent, (106, 2))
    decoded = (geometry.pixels_to_unit(points, extent) + 1) * (extent // 2)
    np.testing.assert_allclose(decoded, points)
