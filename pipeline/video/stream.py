"""A video's frames one after the other, for as long as it is: nothing waits for the file's end.

The frames are those that `survey` finds: the same numbers, times and images. It knows them when
it has decoded the whole file; here they are expected from the packets' times, each one is handed
out when the 16 behind it have come undamaged, and whoever expected wrongly starts anew from a
survey.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.video.container import Upright, frame_rate, open_video
from arpgnet.pipeline.video.forecast import forecast_times
from arpgnet.pipeline.video.survey import REORDER, Seen, survey, walk

# containers count time in ticks of up to 1/90000 s, and sums of them are rounded
_SAME_TIME_S = 1e-6
# a second of video with more frames than any camera's is no second of work
_MOST_RATE = 240


class Unexpected(Exception):  # noqa: N818 - an answer, not a fault
    """The frames are not those of the plan: `survey_plan` knows better."""


@dataclass(frozen=True)
class Plan:
    """Which frames there will be.

    Attributes:
        times: seconds after the first frame, float64 [n], strictly increasing.
        frame_s: the usual distance of frames.
        whole: False when something is damaged or missing, see `survey.Seen.whole`.
        certain: they were all decoded, and not only expected.
    """

    times: np.ndarray
    frame_s: float
    whole: bool
    certain: bool


@dataclass(frozen=True)
class Shown:
    """A frame: its number and time in the video, and the image that a player shows, RGB uint8
    [H, W, 3]."""

    index: int
    time_s: float
    image: np.ndarray


def plan(path: Path, longest_s: float | None = None) -> Plan:
    """Forecast from the packets, in 0.02 ms per frame; a `survey_plan` where that is impossible.

    Raises:
        ClipError: the file is empty, not a video, has sound only, no frame decodes, or the video
            is longer than `longest_s` seconds.
        UserError: the file is absent or may not be read.
    """
    times = forecast_times(path)
    if times is None or not len(times):
        return survey_plan(path, longest_s)
    _check_length(times, longest_s)
    if len(times) > 1:
        return Plan(times, float(np.median(np.diff(times))), whole=True, certain=False)
    with open_video(path) as (_, stream):
        rate = frame_rate(stream)
    return Plan(times, 1.0 / rate if rate else 0.0, whole=True, certain=False)


def survey_plan(path: Path, longest_s: float | None = None) -> Plan:
    """Decode all of it, or little more than is allowed, for the truth; raise as `plan` does."""
    found = survey(path, longest_s)
    if longest_s is not None and not found.to_end:
        raise _too_long(longest_s)
    _check_length(found.times, longest_s)
    return Plan(found.times, found.frame_s, found.whole, certain=True)


def stream(path: Path, expected: Plan) -> Iterator[Shown]:
    """Yield the plan's frames. At most 17 decoded ones are in memory.

    Raises:
        Unexpected: there are others, or damage.
        ClipError, UserError: as `plan`.
    """
    upright = Upright()
    count = len(expected.times)
    number = 0
    with open_video(path) as (container, video):
        seen = Seen([])
        timed = container.format.name != "avi"
        waiting: deque[Any] = deque()
        for frame in walk(path, container, video, seen, timed):
            if expected.certain and number == count:
                return
            waiting.append(frame)
            if not expected.certain:
                _check(seen, expected, timed)
            if expected.certain or len(waiting) > REORDER:
                image = upright.image(waiting.popleft())
                yield Shown(number, float(expected.times[number]), image)
                number += 1
        if expected.certain and number == count:
            return
        if expected.certain:
            raise ClipError("the file changed while it was read")
        if not seen.whole or len(seen.stamps) != count:
            raise Unexpected
        while waiting:
            image = upright.image(waiting.popleft())
            yield Shown(number, float(expected.times[number]), image)
            number += 1


class InStep:
    """The plan's frames for somebody who takes them one by one, by rising numbers.

    Raises, as `at` does:
        Unexpected, ClipError, UserError: as `stream`.
    """

    def __init__(self, path: Path, expected: Plan) -> None:
        self._frames = stream(path, expected)
        self._shown = next(self._frames)
        # of the first image; later ones may have others
        self.height, self.width = self._shown.image.shape[:2]

    def at(self, index: int) -> Shown:
        while self._shown.index < index:
            self._shown = next(self._frames)
        return self._shown


def _check_length(times: np.ndarray, longest_s: float | None) -> None:
    if longest_s is None:
        return
    if times[-1] > longest_s:
        raise _too_long(longest_s)
    if len(times) > _MOST_RATE * longest_s:
        raise ClipError(f"{len(times)} frames are more than {longest_s:g} s of video have")


def _too_long(longest_s: float) -> ClipError:
    return ClipError(f"longer than the {longest_s:g} s that are allowed")


def _check(seen: Seen, expected: Plan, timed: bool) -> None:
    """Check that the latest frame is undamaged and is the expected one."""
    number = len(seen.stamps) - 1
    if seen.corrupt is not None or number >= len(expected.times):
        raise Unexpected
    first, last = seen.stamps[0], seen.stamps[-1]
    if not timed:
        return
    if first is None or last is None:
        raise Unexpected
    if abs(last - first - expected.times[number]) > _SAME_TIME_S:
        raise Unexpected
