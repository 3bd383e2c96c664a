"""Poses between the frames that were measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arpgnet.pipeline.geometry.pose import UNKNOWN, HeadPose
from arpgnet.pipeline.predict.poses import Poses


def pose(yaw: float, roll: float = 0.0) -> HeadPose:
    return replace(UNKNOWN, angles=np.array([yaw, 0.0, roll]))


def test_angles_are_linear_between_measurements_and_end_soon_after_them() -> None:
    poses = Poses()
    for time_s, yaw in ((1.0, 0.0), (1.4, 20.0), (3.0, 0.0)):
        poses.add(2, time_s, pose(yaw))
    poses.add(2, 1.2, pose(90.0))
    poses.add(2, 4.0, UNKNOWN)
    poses.add(2, 4.0, None)
    assert poses.at(2, 0.4) is None
    yaws = {
        time_s: found and float(found.angles[0])
        for time_s in (0.6, 1.0, 1.1, 1.4, 1.7, 2.2, 2.6, 3.0, 3.4, 3.6)
        for found in [poses.at(2, time_s)]
    }
    assert yaws == pytest.approx(
        {0.6: 0, 1.0: 0, 1.1: 5, 1.4: 20, 1.7: 16.25, 2.6: 5, 3.0: 0, 3.4: 0}
        | {2.2: None, 3.6: None}
    )
    assert poses.at(1, 1.0) is None


def test_a_roll_goes_the_shorter_way_round() -> None:
    poses = Poses()
    poses.add(0, 0.0, pose(0.0, 170.0))
    poses.add(0, 0.2, pose(0.0, -170.0))
    found = poses.at(0, 0.1)
    assert found is not None
    assert found.angles[2] == pytest.approx(180.0)
