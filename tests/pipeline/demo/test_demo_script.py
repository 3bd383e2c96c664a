"""The course of action units within clips."""

from __future__ import annotations

import numpy as np
import pytest

from arpgnet.pipeline.demo import CLASSES
from arpgnet.pipeline.demo.action_units import AU
from arpgnet.pipeline.demo.frame import MAX_PITCH, MAX_ROLL, MAX_YAW
from arpgnet.pipeline.demo.script import Script, write_script
from arpgnet.pipeline.demo.subject import draw_subject

TAKES = 60


def scripts(label: str) -> list[Script]:
    subject = draw_subject(4)
    rngs = (np.random.default_rng(seed) for seed in range(TAKES))
    return [write_script(label, subject, rng, frame_px=256, fps=25.0) for rng in rngs]


@pytest.mark.parametrize("label", CLASSES)
def test_units_and_poses_stay_within_their_limits(label: str) -> None:
    for script in scripts(label):
        assert script.units.min() >= 0.0
        assert script.units.max() <= 1.0
        assert len(script.poses) == len(script.units) == len(script.occlusion)
        assert max(abs(pose.yaw) for pose in script.poses) <= MAX_YAW
        assert max(abs(pose.pitch) for pose in script.poses) <= MAX_PITCH
        assert max(abs(pose.roll) for pose in script.poses) <= MAX_ROLL


def test_fear_holds_where_surprise_has_gone() -> None:
    def last_share(label: str) -> float:
        brows = [script.units[:, AU["AU1"]] for script in scripts(label)]
        return float(np.mean([course[-5:].mean() / course.max() for course in brows]))

    assert last_share("fear") > last_share("surprise") + 0.2


def test_grief_comes_more_slowly_than_surprise() -> None:
    def steepest(label: str, name: str) -> float:
        courses = [script.units[:, AU[name]] for script in scripts(label)]
        return float(np.median([np.diff(course).max() / course.max() for course in courses]))

    assert steepest("sadness", "AU15") < 0.5 * steepest("surprise", "AU26")


def test_only_a_minority_of_clips_is_occluded() -> None:
    share = np.mean([script.occlusion.any() for label in CLASSES for script in scripts(label)])
    assert 0.05 < share < 0.30
