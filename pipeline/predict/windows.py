"""Which frames of a video are sampled, which are classified together, and each frame's result.

A network of whole clips is shown a short video as evaluation shows it a clip. A longer one is cut
into windows of a clip's length, one every `STRIDE_S`; a frame's result is the mean over the windows
that contain it, weighted by how near their middle is. A network of frames is shown windows as in
evaluation, and a frame's result is that of the nearest sampled frame, or the mean of those of the
frames around it if the run smooths. A network of both is shown the windows of a network of clips,
and in each of them, for its outputs of frames, the windows that evaluation shows of a clip.

n frames of the video, m of them sampled (picks), K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.tables.predictions import EXPRESSION
from arpgnet.pipeline.tables.smoothing import from_scores, to_scores
from arpgnet.pipeline.training.tasks import nearest_of
from arpgnet.pipeline.video.sampling import choose

# seconds from one window to the next: a timeline then has no steps that a viewer sees
STRIDE_S = 0.2
# by which fraction of a clip a window may be longer or shorter, for windows to share frames
ROUNDED = 0.1


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
    """Sampled frames, int64 [m] rising, and the windows in the order of `first`.

    Attributes:
        window_s: duration of a window, seconds.
        stride_s: from one window to the next, seconds; 0 where there is one alone.
    """

    picks: np.ndarray
    windows: list[Window]
    window_s: float
    stride_s: float


def clip_layout(
    times: np.ndarray,
    frame_s: float,
    params: DecodeParams,
    *,
    window_s: float,
    clip_s: float,
    stride_s: float = STRIDE_S,
) -> Layout:
    """Lay out windows for a network of whole clips.

    Windows are equal in frames, which at a fixed rate is equal in time; frames are chosen in each
    as the decode stage chooses those of a clip. Length and stride are rounded so that windows share
    the frames that they show, where the stride is no shorter than the distance of those: only the
    small network then runs once per window.

    Args:
        times: of the n frames, seconds.
        frame_s: their usual distance.
        window_s: a video that is no longer is one window.
        clip_s: the length of the windows of a longer one.
        stride_s: the longest step from one window to the next.
    """
    count = len(times)
    length = step = count
    if times[-1] + frame_s > window_s and frame_s > 0:
        spacing, length = _spacing(clip_s / frame_s, frame_s, params)
        length = min(count, length)
        step = min(length, _step(stride_s / frame_s, spacing))
    begins = np.unique(np.append(np.arange(0, count - length, step), count - length)).tolist()
    shown = [
        begin + choose(times[begin : begin + length] - times[begin], params) for begin in begins
    ]
    picks = np.unique(np.concatenate(shown))
    windows = [
        Window(begin, begin + length, np.searchsorted(picks, frames))
        for begin, frames in zip(begins, shown, strict=True)
    ]
    return Layout(picks, windows, length * frame_s, step * frame_s if len(windows) > 1 else 0.0)


def _spacing(clip: float, frame_s: float, params: DecodeParams) -> tuple[int, int]:
    """Return the distance of the frames shown and the length of a window, both in frames."""
    if params.sampling == "uniform":
        spacing = max(1, round(clip / params.frames))
        length = spacing * params.frames
        if abs(length - clip) <= ROUNDED * clip:
            return spacing, length
    if params.sampling == "fps":
        spacing = max(1, round(1.0 / (params.fps * frame_s)))
        return spacing, max(1, round(clip))
    return 1, max(1, round(clip))


def _step(longest: float, spacing: int) -> int:
    """Return the step between windows in frames: a multiple of the spacing, or what divides it."""
    # a rounded rate of 29.97 must not lose the last frame: 0.2 s are 5.994 frames
    most = max(1, int(longest + 0.01))
    if most >= spacing:
        return most // spacing * spacing
    return next(step for step in range(most, 0, -1) if spacing % step == 0)


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
    apart = float(np.median(np.diff(times[picks]))) if len(picks) > 1 else 0.0
    step = stride * apart if len(windows) > 1 else 0.0
    return Layout(picks, windows, min(window, len(picks)) * apart, step)


@dataclass(frozen=True)
class FaceResult:
    """The network's result for one face in one window.

    Attributes:
        probabilities: float64 [K] of the window, or [T, K] of the frames shown; where the network
            has further tasks, their values after these. Of a network of both the latter; values
            of the window are the same in all frames.
        seen: bool [T], in which of them the face is.
        distance: float64 [V], from the training clips, of each view; of none where the run does not
            describe them.
    """

    probabilities: np.ndarray
    seen: np.ndarray
    distance: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Scored:
    """A face in a frame: probabilities as `FaceResult` has them of a window, and the fraction of
    the shown frames that have it, both averaged over the windows that are about the frame, by
    weight."""

    probabilities: np.ndarray
    coverage: float


class ClipScores:
    """Results of windows, averaged for each frame.

    Args:
        ahead: how many frames behind the last window's first one may still be asked for.
    """

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead
        self._kept: deque[tuple[Window, Mapping[int, FaceResult]]] = deque()

    def add(self, window: Window, found: Mapping[int, FaceResult]) -> None:
        """Add the next window's faces by their id."""
        while self._kept and self._kept[0][0].end <= window.first - self.ahead:
            self._kept.popleft()
        self._kept.append((window, found))

    def at(self, face: int, frame: int) -> Scored | None:
        """Return a face's result in a frame, after all windows that start no later; frames rise."""
        while self._kept and self._kept[0][0].end <= frame:
            self._kept.popleft()
        own = [
            (window, found[face])
            for window, found in self._kept
            if window.first <= frame < window.end and face in found
        ]
        if not own:
            return None
        # falls from the window's middle to its ends, where it is still 1: an equal mean would look
        # at twice a window's duration
        weights = [1 + min(frame - one.first, one.end - 1 - frame) for one, _ in own]
        return Scored(
            np.average([found.probabilities for _, found in own], axis=0, weights=weights),
            float(np.average([found.seen.mean() for _, found in own], weights=weights)),
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
    """Results of windows frame by frame, averaged over the windows that show a frame, and smoothed
    over the frames around it as evaluation does (`tables.smoothing`).

    Args:
        picks: the sampled frames.
        count: of the video's frames.
        smooth: the window's length; 1: none.
        kind: the task.
        outputs: K, of what is smoothed; None: all. Values of further tasks are not.

    `ahead` is how many later frames a frame's result depends on.
    """

    def __init__(
        self,
        picks: np.ndarray,
        count: int,
        *,
        smooth: int = 1,
        kind: str = EXPRESSION,
        outputs: int | None = None,
    ) -> None:
        self._picks, self._count, self._kind, self._outputs = picks, count, kind, outputs
        self.ahead = smooth // 2
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
        first = max(0, frame - self.ahead)
        best = nearest(self._kept.get(face), first)
        if best is None:
            return None
        if not self.ahead:
            return Scored(best.total / best.count, best.coverage / best.count)
        known = list(self._kept[face])
        picks = np.array([item.pick for item in known])
        end = min(self._count, frame + self.ahead + 1)
        # of each frame of the window its nearest one, and how often that is
        rows = nearest_of(picks, np.arange(len(known)), np.arange(first, end))
        weight = np.bincount(rows, minlength=len(known))
        means = np.stack([item.total / item.count for item in known])
        score = weight @ to_scores(means[:, : self._outputs], self._kind) / weight.sum()
        place = rows[frame - first]
        own, end = known[place], len(score)
        values = np.append(from_scores(score, self._kind), means[place, end:])
        return Scored(values, own.coverage / own.count)


class MixedScores:
    """Results of a network of clips and frames: each output as its own kind of network has it.

    Args:
        frames: gathers the outputs of frames.
        of_frames: bool [K + J], which those are.
    """

    def __init__(self, frames: FrameScores, of_frames: np.ndarray) -> None:
        self.ahead = frames.ahead
        self._frames, self._of_frames = frames, of_frames
        self._clips = ClipScores(self.ahead)

    def add(self, window: Window, found: Mapping[int, FaceResult]) -> None:
        """Add the next window's faces by their id."""
        self._frames.add(window, found)
        whole = {
            face: FaceResult(result.probabilities[0], result.seen) for face, result in found.items()
        }
        self._clips.add(window, whole)

    def at(self, face: int, frame: int) -> Scored | None:
        """Return a face's result; None where it has none of clips."""
        clip, own = self._clips.at(face, frame), self._frames.at(face, frame)
        if clip is None or own is None:
            return None
        values = np.where(self._of_frames, own.probabilities, clip.probabilities)
        return Scored(values, (own if self._of_frames[0] else clip).coverage)
