"""Stills, clips and action units of the rendered demo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.demo import (
    ACTION_UNITS,
    CLASSES,
    SUBJECT_SEEDS_DEMO,
    contact_sheet,
    render_clip,
    render_still,
)
from arpgnet.pipeline.demo import landmarks as lm
from arpgnet.pipeline.demo.action_units import AU
from arpgnet.pipeline.demo.anatomy import draw_anatomy
from arpgnet.pipeline.demo.prototypes import prototype
from arpgnet.pipeline.demo.rig import Expression, Pose, Rig

FRONT = Pose(yaw=0.0, pitch=0.0, roll=0.0, center=(128.0, 128.0), scale=70.0)


def points(rig: Rig, **units: float) -> np.ndarray:
    """Frontal pixels [106, 2] of a face that shows these units."""
    values = np.zeros(len(ACTION_UNITS))
    for name, intensity in units.items():
        values[AU[name]] = intensity
    return FRONT.project(rig.move(Expression.from_units(values)).landmarks)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(draw_anatomy(np.random.default_rng(3)))


def test_equal_seeds_give_equal_images() -> None:
    first, second = (render_still(5, 2, frame_px=96) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert not np.array_equal(first.image, render_still(6, 2, frame_px=96).image)


def test_shapes_and_types_are_the_documented_ones() -> None:
    still = render_still(0, 0, frame_px=128)
    assert (still.image.shape, still.image.dtype) == ((128, 128, 3), np.uint8)
    assert (still.landmarks.shape, still.landmarks.dtype) == ((106, 2), np.float32)
    assert (still.keypoints.shape, still.keypoints.dtype) == ((5, 2), np.float32)
    assert (still.bbox.shape, still.bbox.dtype) == ((4,), np.float32)
    assert still.action_units.shape == (len(ACTION_UNITS),)
    assert (still.head_pose.shape, still.head_pose.dtype) == ((3,), np.float32)
    assert 0.0 <= still.action_units.min() <= still.action_units.max() <= 1.0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_the_points_lie_in_the_box_and_the_faces_have_the_promised_size(seed: int) -> None:
    still = render_still(seed, seed % 3, frame_px=128)
    low, high = still.bbox[:2], still.bbox[2:]
    eyes_down = still.landmarks[[*lm.EYE_CENTER, *lm.NOSE_BRIDGE, *lm.LIP_OUTER_UPPER, *lm.CONTOUR]]
    assert (eyes_down >= low - 1e-3).all()
    assert (eyes_down <= high + 1e-3).all()
    assert 0.12 * 128 <= high[1] - low[1] <= 1.1 * 128
    center = (low + high) / 2
    assert (center > 0).all()
    assert (center < 128).all()


def test_clip_points_stay_in_the_frame() -> None:
    for frame in render_clip(1, "happiness", 3, frame_px=96, fps=10.0):
        assert (frame.landmarks > 0).all()
        assert (frame.landmarks < 96).all()


def test_a_neutral_frontal_face_is_its_own_mirror_image(rig: Rig) -> None:
    face = points(rig)
    mirrored = face[lm.mirror_order()]
    mirrored[:, 0] = 256.0 - mirrored[:, 0]
    np.testing.assert_allclose(face, mirrored, atol=1e-3)


def test_every_point_is_named_once_and_image_left_comes_first(rig: Rig) -> None:
    assert sorted(lm.mirror_order()) == list(range(106))
    face = points(rig)
    for left, right in (lm.PUPIL, lm.EYE_OUTER, (lm.LIP_OUTER_UPPER[0], lm.LIP_OUTER_UPPER[-1])):
        assert face[left, 0] < face[right, 0]
    assert (np.diff(face[list(lm.CONTOUR), 0]) > -1.0).all()


@pytest.mark.parametrize(
    ("unit", "point", "axis", "sign"),
    [
        ("AU12L", lm.LIP_OUTER_UPPER[-1], 1, -1),
        ("AU12R", lm.LIP_OUTER_UPPER[0], 1, -1),
        ("AU15", lm.LIP_OUTER_UPPER[0], 1, 1),
        ("AU20", lm.LIP_OUTER_UPPER[-1], 0, 1),
        ("AU4", lm.BROW_UPPER[0][-1], 1, 1),
        ("AU1", lm.BROW_UPPER[0][-1], 1, -1),
        ("AU2", lm.BROW_UPPER[1][1], 1, -1),
        ("AU5", lm.EYE_UPPER[0][1], 1, -1),
        ("AU7", lm.EYE_LOWER[1][1], 1, -1),
        ("AU6", lm.EYE_LOWER[0][1], 1, -1),
        ("AU45", lm.EYE_UPPER[1][1], 1, 1),
        ("AU43", lm.EYE_UPPER[1][1], 1, 1),
        ("AU26", lm.LIP_INNER_LOWER[1], 1, 1),
        ("AU26", lm.CONTOUR[16], 1, 1),
        ("AU25", lm.LIP_INNER_LOWER[1], 1, 1),
        ("AU9", lm.NOSE_SIDE[0][2], 1, -1),
        ("AU10", lm.LIP_OUTER_UPPER[2], 1, -1),
        ("AU17", lm.LIP_INNER_LOWER[1], 1, -1),
        ("AU24", lm.LIP_OUTER_LOWER[2], 1, -1),
        ("AU23", lm.LIP_OUTER_UPPER[2], 1, 1),
        ("AU14L", lm.LIP_OUTER_UPPER[-1], 0, 1),
    ],
)
def test_a_unit_moves_its_point_further_the_stronger_it_is(
    rig: Rig, unit: str, point: int, axis: int, sign: int
) -> None:
    course = [sign * points(rig, **{unit: strength})[point, axis] for strength in (0, 0.3, 0.6, 1)]
    assert (np.diff(course) > 0.05).all()


def test_the_lower_lip_falls_with_au16_once_the_lips_are_apart(rig: Rig) -> None:
    lip = lm.LIP_OUTER_LOWER[2]
    apart, depressed = points(rig, AU25=0.5), points(rig, AU25=0.5, AU16=1.0)
    assert depressed[lip, 1] > apart[lip, 1] + 0.5


def test_the_mouth_stays_shut_without_a_unit_that_opens_it(rig: Rig) -> None:
    for units in ({}, {"AU12L": 1.0, "AU12R": 1.0}, {"AU24": 1.0}, {"AU10": 1.0}):
        face = points(rig, **units)
        upper, lower = face[lm.LIP_INNER_UPPER[2]], face[lm.LIP_INNER_LOWER[1]]
        assert abs(lower[1] - upper[1]) < 0.01


@pytest.mark.parametrize(("side", "moved", "still"), [("L", -1, 0), ("R", 0, -1)])
def test_contempt_moves_one_corner_only(rig: Rig, side: str, moved: int, still: int) -> None:
    neutral = points(rig)
    shown = FRONT.project(rig.move(Expression.from_units(prototype("contempt", side))).landmarks)
    travel = np.linalg.norm(shown - neutral, axis=1)[list(lm.LIP_OUTER_UPPER)]
    assert travel[moved] > 3.0
    assert travel[still] < 0.01


def test_a_clip_lasts_as_documented_and_an_unknown_class_is_refused() -> None:
    clip = render_clip(0, "fear", 0, frame_px=48, fps=10.0)
    assert 12 <= len(clip) <= 24
    with pytest.raises(ValueError, match="unknown class 'joy'"):
        render_clip(0, "joy", 0, frame_px=48, fps=10.0)


def test_the_contact_sheet_has_a_row_a_class_and_a_column_a_subject() -> None:
    sheet = contact_sheet([0, 1], frame_px=64)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] == 64 * len(CLASSES)
    assert sheet.shape[1] > 2 * 64
    assert SUBJECT_SEEDS_DEMO.stop <= 100_000
