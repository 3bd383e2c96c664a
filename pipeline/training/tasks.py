"""What is learned and scored: a label per clip (AFEW, RML), or a label per frame (Aff-Wild2).

A label is a class or a vector of values (`kinds`). A task says which views train and evaluate, what
the label of a view is, and how the predictions of overlapping views become one of each scored unit.
A view is what the network is shown together, segments of a clip or a window of a video: a row of
int64 row numbers into the features; -1 pads where a clip is shorter.

Shape letters: U units (clips, or labeled frames), V views, T frames of a view, K outputs. Labels
are int64 [...] or float32 [..., K], and blank (-1 or NaN) where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.tables.predictions import Units
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.labels import blanked, known


@dataclass(frozen=True)
class Views:
    """V views: `rows` int64 [V, T], and the clip (int64 [V]) that each shows."""

    rows: np.ndarray
    clip: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def segments(
    dataset: Dataset, clips: np.ndarray, frames: int, place: np.ndarray, nearest: np.ndarray
) -> Views:
    """Return one view of each clip: a frame of each of `frames` equal segments, in their order.

    A clip of no more frames than that is shown whole and padded. A frame without a face gives
    way to the nearest one with a face in the same segment.

    Args:
        clips: int64 [V].
        place: float [V, frames], where in its segment a frame is taken, 0 <= place < 1. 0.5 is
            the center; a random one gives the segment sampling of Wang et al., ECCV 2016 (TSN).
        nearest: of `nearest_valid`.
    """
    start, length = dataset.first[clips], np.diff(dataset.first)[clips]
    step = np.arange(frames)
    # the whole product before the division: (i + 0.5) * n / T may fall on the wrong side of a row
    low = step * length[:, None] // frames
    high = np.maximum(low + 1, -((-(step + 1) * length[:, None]) // frames))
    offset = np.floor((step + place) * length[:, None] / frames + 1e-9).astype(np.int64)
    offset = np.clip(offset, low, high - 1)
    short = length <= frames
    offset[short] = step
    rows = start[:, None] + offset
    inside = offset < length[:, None]
    rows = np.where(inside, rows, -1)
    other = nearest[rows]  # -1 looks at some frame, and is put right below
    near = (other >= start[:, None] + low) & (other < start[:, None] + high)
    swap = inside & near & ~short[:, None]
    return Views(np.where(swap, other, rows), clips)


def windows(dataset: Dataset, clips: np.ndarray, window: int, stride: int) -> Views:
    """Cut `window` consecutive frames every `stride` frames; the last one ends with the clip.

    Every frame is in at least one window if `stride` <= `window`; a shorter clip is padded.
    """
    rows, owner = [], []
    for clip in clips:
        start, end = int(dataset.first[clip]), int(dataset.first[clip + 1])
        last = max(start, end - window)
        begins = np.unique(np.append(np.arange(start, last, stride), last))
        view = begins[:, None] + np.arange(window)
        rows.append(np.where(view < end, view, -1))
        owner.append(np.full(len(begins), clip, np.int64))
    return Views(np.concatenate(rows).astype(np.int64), np.concatenate(owner))


def nearest_valid(dataset: Dataset) -> np.ndarray:
    """Find for each row the nearest row of the same clip that has a face.

    Of two equally near ones the earlier. A clip without a face: -1.

    Returns:
        int64 [R].
    """
    valid = dataset.valid
    found = np.full(len(valid), -1, np.int64)
    for start, end in zip(dataset.first[:-1], dataset.first[1:], strict=True):
        seen = start + np.flatnonzero(valid[start:end])
        found[start:end] = nearest_of(dataset.frame_index, seen, dataset.frame_index[start:end])
    return found


def nearest_of(frame_index: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find the nearest of `rows` (int64, ascending in time) to each wanted frame."""
    if not len(rows):
        return np.full(len(wanted), -1, np.int64)
    times = frame_index[rows]
    after = np.clip(np.searchsorted(times, wanted), 0, len(rows) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(times[before] - wanted) <= np.abs(times[after] - wanted)
    nearest: np.ndarray = rows[np.where(closer, before, after)]
    return nearest


class Task(Protocol):
    """One of the two below.

    Attributes:
        name: what a unit is, `clip` or `frame`.
        dataset: of all clips.
        frames: T of the longest view.
        select: the validation score that chooses the epoch, as `macro_f1`.
    """

    name: str
    dataset: Dataset
    frames: int
    select: str

    def shown(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        """Return the views of one epoch, in clip order, with or without a label."""
        ...

    def training(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        """Return those that the main task learns from."""
        ...

    def evaluation(self, clips: np.ndarray) -> Views:
        """Return the views that `combine` expects."""
        ...

    def labels(self, views: Views) -> np.ndarray:
        """Return the label of each view or of each of its frames, [V] or [V, T]."""
        ...

    def units(self, clips: np.ndarray) -> Units:
        """Return what of these clips is scored."""
        ...

    def combine(self, clips: np.ndarray, views: Views, probabilities: np.ndarray) -> np.ndarray:
        """Combine probabilities of views, [V, K] or [V, T, K], into those of units, [U, K].

        NaN where there is none.
        """
        ...


class ClipTask:
    """A label per clip: one frame of each of T segments, at random in training, centered otherwise.

    With `train.offsets: n` a clip is seen n times in evaluation, at n equally spaced places of
    the segments, and the probabilities are averaged.
    """

    name = "clip"

    def __init__(self, dataset: Dataset, params: TrainParams) -> None:
        self.dataset = dataset
        longest = int(np.diff(dataset.first).max())
        self.frames = min(params.frames or longest, longest)
        self.offsets = params.offsets
        self.select = _select(dataset, params, per_frame=False)
        self._nearest = nearest_valid(dataset)

    def shown(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        return self._segments(clips, rng.random((len(clips), self.frames)))

    def training(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        # clips without a label are in no fold
        return self.shown(clips, rng)

    def evaluation(self, clips: np.ndarray) -> Views:
        place = (np.arange(self.offsets) + 0.5) / self.offsets
        every = np.tile(place, len(clips))[:, None].repeat(self.frames, axis=1)
        return self._segments(np.repeat(clips, self.offsets), every)

    def _segments(self, clips: np.ndarray, place: np.ndarray) -> Views:
        return segments(self.dataset, clips, self.frames, place, self._nearest)

    def labels(self, views: Views) -> np.ndarray:
        return self.dataset.label[views.clip]

    def units(self, clips: np.ndarray) -> Units:
        names = np.array([self.dataset.clip_ids[clip] for clip in clips], dtype=object)
        return Units(names, self.dataset.label[clips], None)

    def combine(self, clips: np.ndarray, views: Views, probabilities: np.ndarray) -> np.ndarray:
        mean: np.ndarray = probabilities.reshape(len(clips), self.offsets, -1).mean(axis=1)
        return mean


class FrameTask:
    """A label per frame: windows of `train.window` frames at every `train.stride`-th frame.

    The probabilities of overlapping windows are averaged. Every labeled frame is scored: one
    that was not sampled or shows no face takes the prediction of the nearest one that does, as
    is usual on Aff-Wild2. Blank labels (left out by the data set's makers) are neither learned
    nor scored.
    """

    name = "frame"

    def __init__(self, dataset: Dataset, params: TrainParams) -> None:
        assert dataset.frame_labels is not None
        self.dataset = dataset
        self.frames, self.stride = params.window, params.stride
        self.select = _select(dataset, params, per_frame=True)
        self._label = blanked(dataset.row_labels(), ~dataset.valid)

    def shown(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        return windows(self.dataset, clips, self.frames, self.stride)

    def training(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        return taught(self.shown(clips, rng), [self])

    def evaluation(self, clips: np.ndarray) -> Views:
        return windows(self.dataset, clips, self.frames, self.stride)

    def labels(self, views: Views) -> np.ndarray:
        return blanked(self._label[views.rows], views.rows < 0)

    def units(self, clips: np.ndarray) -> Units:
        names = [self.dataset.clip_ids[clip] for clip in clips]
        return frame_units(names, self.dataset)

    def combine(self, clips: np.ndarray, views: Views, probabilities: np.ndarray) -> np.ndarray:
        low = self.dataset.first[clips].min()
        high = self.dataset.first[clips + 1].max()
        seen = views.rows >= 0
        rows = views.rows[seen] - low
        classes = probabilities.shape[-1]
        count = np.bincount(rows, minlength=high - low)
        total = np.stack(
            [
                np.bincount(rows, probabilities[..., k][seen], minlength=high - low)
                for k in range(classes)
            ],
            axis=1,
        )
        mean = total / np.maximum(count, 1)[:, None]
        source = self.source(clips)
        return np.where(source[:, None] >= 0, mean[source - low], np.nan)

    def source(self, clips: np.ndarray) -> np.ndarray:
        """Find the row whose prediction each unit takes, int64 [U]; -1: the video shows no face."""
        found = []
        for clip in clips:
            start, end = self.dataset.first[clip], self.dataset.first[clip + 1]
            seen = start + np.flatnonzero(self.dataset.valid[start:end])
            scored = _scored(self.dataset, self.dataset.clip_ids[clip])[0]
            found.append(nearest_of(self.dataset.frame_index, seen, scored))
        return np.concatenate(found)


def _select(dataset: Dataset, params: TrainParams, *, per_frame: bool) -> str:
    return dataset.kind.select(per_frame) if params.select == "auto" else params.select


def make_task(dataset: Dataset, params: TrainParams) -> Task:
    """Make the task for the labels."""
    if dataset.frame_labels is None:
        return ClipTask(dataset, params)
    return FrameTask(dataset, params)


def further_tasks(dataset: Dataset, params: TrainParams) -> list[Task]:
    """Make the tasks that the network learns beside the data set's own."""
    # it selects nothing
    own = params.model_copy(update={"select": "auto"})
    return [make_task(dataset.of_further(one), own) for one in dataset.further]


def taught(views: Views, tasks: Sequence[Task]) -> Views:
    """Return the views that show a label of any of some tasks with the same units."""
    some = [known(task.labels(views)) for task in tasks]
    # of clips [V], of frames [V, T]
    chosen = np.any([one.any(axis=tuple(range(1, one.ndim))) for one in some], axis=0)
    return Views(views.rows[chosen], views.clip[chosen])


def frame_units(clip_ids: list[str], dataset: Dataset) -> Units:
    """Return every scored frame of some clips, those of quarantined ones too."""
    scored = [_scored(dataset, name) for name in clip_ids]
    lengths = [len(index) for index, _ in scored]
    return Units(
        np.repeat(np.array(clip_ids, dtype=object), lengths),
        np.concatenate([dataset.label[:0], *(label for _, label in scored)]),
        np.concatenate([index for index, _ in scored] or [np.zeros(0, np.int64)]),
    )


def _scored(dataset: Dataset, clip_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of a clip that have a label, and their labels."""
    assert dataset.frame_labels is not None
    labels = dataset.frame_labels[clip_id]
    labeled = known(labels.label)
    return labels.index[labeled], labels.label[labeled]
