"""Head poses between the frames that were shown to the network, whose landmarks are known."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from arpgnet.pipeline.geometry.pose import UNKNOWN, HeadPose

# a pose says nothing about a moment that is further away
FAR_S = 0.5


class Poses:
    """Each face's angles over time: measured at some moments, and linear between them."""

    def __init__(self) -> None:
        self._known: dict[int, deque[tuple[float, HeadPose]]] = {}

    def add(self, face: int, time_s: float, pose: HeadPose | None) -> None:
        """Add a measurement; a face's times rise, and what does not rise is known already."""
        if pose is None or np.isnan(pose.angles).any():
            return
        known = self._known.setdefault(face, deque())
        if not known or time_s > known[-1][0]:
            known.append((time_s, pose))

    def at(self, face: int, time_s: float) -> HeadPose | None:
        """Return a face's angles, without rotation and position; None if nothing is known nearby.

        `time_s` must not fall from call to call: what no later moment needs is dropped.
        """
        known = self._known.get(face)
        if not known:
            return None
        while len(known) > 1 and known[1][0] <= time_s:
            known.popleft()
        near = list(known)[:2]
        times = [time for time, _ in near]
        if min(abs(time - time_s) for time in times) > FAR_S:
            return None
        angles = np.stack([pose.angles for _, pose in near])
        # the shorter way round, where a roll passes 180 degrees
        angles = np.unwrap(angles, period=360.0, axis=0)
        return replace(UNKNOWN, angles=np.array([np.interp(time_s, times, a) for a in angles.T]))
