"""Which frames of a video are sampled, which are classified together, and each frame's result.

A network of whole clips is shown a short video as evaluation shows it a clip. A longer one is cut
into windows of a clip's length that overlap by three quarters; a frame's result is the mean over
the windows that contain it. A network of frames is shown windows as in evaluation, and a frame's
result is that of the nearest sampled frame.

n frames of the video, m of them sampled (picks), K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.video.sampling import choose

# windows that contain a frame; a step that divides the window lets them share the sampled frames
OVERLAP = 4


@dataclass(frozen=True)
class Window:
    """Frames that are classified together.

    Attributes:
        first, end: the video's frames that the result is about, `end` excluded.
        rows: positions in `Layout.picks` of the frames that are shown to the network.
    """

    first: int
    end: int
    rows: range | np.ndarray


@dataclass(frozen=True)
class Layout:
    """Sampled frames, int64 [m] rising, and the windows in the order of `first`."""

    picks: np.ndarray
    windows: list[Window]


def clip_layout(
    times: np.ndarray, frame_s: float, params: DecodeParams, *, window_s: float, clip_s: float
) -> Layout:
    """Lay out windows for a network of whole clips.

    Windows are equal in frames, which at a fixed rate is equal in time; frames are chosen in each
    as the decode stage chooses those of a clip.

    Args:
        times: of the n frames, seconds.
        frame_s: their usual distance.
        window_s: a video that is no longer is one window.
        clip_s: the length of the windows of a longer one.
    """
    count = len(times)
    length = count
    if times[-1] + frame_s > window_s and frame_s > 0:
        length = min(count, max(1, round(clip_s / frame_s / OVERLAP)) * OVERLAP)
    step = max(1, length // OVERLAP)
    begins = np.unique(np.append(np.arange(0, count - length, step), count - length)).tolist()
    shown = [
        begin + choose(times[begin : begin + length] - times[begin], params) for begin in begins
    ]
    picks = np.unique(np.concatenate(shown))
    windows = [
        Window(begin, begin + length, np.searchsorted(picks, frames))
        for begin, frames in zip(begins, shown, strict=True)
    ]
    return Layout(picks, windows)


def frame_layout(times: np.ndarray, params: DecodeParams, *, window: int, stride: int) -> Layout:
    """Lay out windows for a network of frames: `window` picks at every `stride`-th, the last too.

    A window's result is about the frames after the pick before it, up to its last pick.
    """
    picks = choose(times, params)
    last = max(0, len(picks) - window)
    begins = np.unique(np.append(np.arange(0, last, stride), last)).tolist()
    windows = []
    for begin in begins:
        end = min(begin + window, len(picks))
        first = int(picks[begin - 1]) + 1 if begin else 0
        after = int(picks[end - 1]) + 1 if end < len(picks) else len(times)
        windows.append(Window(first, after, range(begin, end)))
    return Layout(picks, windows)


@dataclass(frozen=True)
class FaceResult:
    """The network's result for one face in one window.

    Attributes:
        probabilities: float64 [K] of the window, or [T, K] of the frames shown.
        seen: bool [T], in which of them the face is.
    """

    probabilities: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Scored:
    """A face in a frame: probabilities float64 [K] and the fraction of the shown frames that have
    it, both averaged over the windows that are about the frame."""

    probabilities: np.ndarray
    coverage: float


class ClipScores:
    """Results of windows, averaged for each frame."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Window, Mapping[int, FaceResult]]] = deque()

    def add(self, window: Window, found: Mapping[int, FaceResult]) -> None:
        """Add the next window's faces by their id."""
        while self._kept and self._kept[0][0].end <= window.first:
            self._kept.popleft()
        self._kept.append((window, found))

    def at(self, face: int, frame: int) -> Scored | None:
        """Return a face's result in a frame, after all windows that start no later; frames rise."""
        while self._kept and self._kept[0][0].end <= frame:
            self._kept.popleft()
        own = [
            found[face]
            for window, found in self._kept
            if window.first <= frame < window.end and face in found
        ]
        if not own:
            return None
        return Scored(
            np.mean([found.probabilities for found in own], axis=0),
            float(np.mean([found.seen.mean() for found in own])),
        )


class OfPick(Protocol):
    """Something known about a sampled frame."""

    @property
    def pick(self) -> int: ...


Item = TypeVar("Item", bound=OfPick)


def nearest(known: deque[Item] | None, frame: int) -> Item | None:
    """Return the item nearest to a frame, of two the earlier; the items' picks rise.

    `frame` must not fall from call to call: items that no later frame is nearest to are dropped.
    """
    if not known:
        return None
    # later frames are nearer to the second one too
    while len(known) > 1 and known[1].pick <= frame:
        known.popleft()
    return min(list(known)[:2], key=lambda item: (abs(item.pick - frame), item.pick))


@dataclass
class _Sum:
    pick: int
    total: np.ndarray
    coverage: float
    count: int = 1


class FrameScores:
    """Results of windows frame by frame, averaged over the windows that show a frame."""

    def __init__(self, picks: np.ndarray) -> None:
        self._picks = picks
        self._kept: dict[int, deque[_Sum]] = {}

    def add(self, window: Window, found: Mapping[int, FaceResult]) -> None:
        """Add the next window's faces by their id."""
        for face, result in found.items():
            known = self._kept.setdefault(face, deque())
            of_pick = {item.pick: item for item in known}
            share = float(result.seen.mean())
            for row, probabilities, seen in zip(
                window.rows, result.probabilities, result.seen, strict=True
            ):
                if not seen:
                    continue
                pick = int(self._picks[row])
                if pick in of_pick:
                    item = of_pick[pick]
                    item.total = item.total + probabilities
                    item.coverage += share
                    item.count += 1
                else:
                    known.append(_Sum(pick, probabilities, share))

    def at(self, face: int, frame: int) -> Scored | None:
        """Return the result of the nearest frame that shows the face; as `ClipScores.at`."""
        best = nearest(self._kept.get(face), frame)
        if best is None:
            return None
        return Scored(best.total / best.count, best.coverage / best.count)
