"""Rendered stills: cached, reproducible, mirrored with their truth."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.demo import ACTION_UNITS, render_still
from tools.demo_pack import stills
from tools.demo_pack.stills import HELD_OUT_SUBJECTS, StillPlan, load_stills, mirrored

PLAN = StillPlan(HELD_OUT_SUBJECTS, subjects=2, count=4, seed=3, frame_px=128)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stills")


@pytest.fixture(scope="module")
def rendered(cache: Path) -> stills.Stills:
    return load_stills(PLAN, cache, workers=1)


def test_stills_carry_the_renderers_truth(rendered: stills.Stills) -> None:
    assert rendered.images.shape == (4, 128, 128, 3)
    assert rendered.subjects.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_less(rendered.boxes[:, :2], rendered.boxes[:, 2:])
    middle = (rendered.boxes[:, :2] + rendered.boxes[:, 2:]) / 2
    assert (np.abs(rendered.landmarks.mean(1) - middle) < 0.3 * 128).all()


def test_the_cache_spares_the_second_rendering(
    rendered: stills.Stills, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(stills, "render_still", forbidden)
    again = load_stills(PLAN, cache, workers=1)
    np.testing.assert_array_equal(again.images, rendered.images)
    with pytest.raises(AssertionError, match="rendered again"):
        load_stills(StillPlan(HELD_OUT_SUBJECTS, 2, 4, seed=4, frame_px=128), cache, workers=1)


def test_an_interrupted_rendering_leaves_no_half_cache(
    tmp_path: Path, rendered: stills.Stills, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def failing(seed: int, subject_seed: int, *, frame_px: int) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return render_still(seed, subject_seed, frame_px=frame_px)

    monkeypatch.setattr(stills, "render_still", failing)
    with pytest.raises(KeyboardInterrupt):
        load_stills(PLAN, tmp_path, workers=1)
    again = load_stills(PLAN, tmp_path, workers=1)
    np.testing.assert_array_equal(again.images, rendered.images)


def test_mirroring_twice_is_the_still(rendered: stills.Stills) -> None:
    still = rendered[1]
    twice = mirrored(mirrored(still))
    for name in ("image", "landmarks", "keypoints", "box", "action_units"):
        np.testing.assert_allclose(getattr(twice, name), getattr(still, name), atol=1e-4)


def test_a_mirrored_still_keeps_left_points_left(rendered: stills.Stills) -> None:
    flipped = mirrored(rendered[0])
    assert flipped.keypoints[0, 0] < flipped.keypoints[1, 0]
    assert flipped.keypoints[3, 0] < flipped.keypoints[4, 0]
    # the shape stays a face: every landmark keeps its place up to a face's asymmetry and its turn
    size = np.ptp(rendered[0].landmarks[:, 0])
    moved = flipped.landmarks - flipped.landmarks.mean(0)
    original = rendered[0].landmarks - rendered[0].landmarks.mean(0)
    assert np.abs(moved - original).mean() < 0.15 * size


def test_one_sided_units_change_sides_in_the_mirror(rendered: stills.Stills) -> None:
    still, flipped = rendered[0], mirrored(rendered[0])
    at = ACTION_UNITS.index
    for unit in ("AU12", "AU14"):
        assert flipped.action_units[at(f"{unit}L")] == still.action_units[at(f"{unit}R")]
    assert flipped.action_units[at("AU4")] == still.action_units[at("AU4")]
