"""Which frames of a clip the network is shown together: segments of a clip, windows of a video.

Shape letters: V views, T frames of each. A view is a row of int64 row numbers into the features;
-1 pads where a clip is shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.train.data import Dataset


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
    """One view of each clip: a frame of each of `frames` equal segments, in their order.

    A clip of no more frames than that is shown whole and padded. A frame without a face gives
    way to the nearest one with a face in the same segment.

    Args:
        clips: int64 [V].
        place: float [V, frames], where in its segment a frame is taken, 0 <= place < 1. 0.5 is
            the centre; a random one gives the segment sampling of Wang et al., ECCV 2016 (TSN).
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
    """`window` consecutive frames at every `stride`-th frame; the last one ends with the clip.

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
    """For each row the row of the same clip that has a face and is nearest in the video.

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
    """Of `rows` (int64, ascending in time) the one nearest in the video to each wanted frame."""
    if not len(rows):
        return np.full(len(wanted), -1, np.int64)
    times = frame_index[rows]
    after = np.clip(np.searchsorted(times, wanted), 0, len(rows) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(times[before] - wanted) <= np.abs(times[after] - wanted)
    nearest: np.ndarray = rows[np.where(closer, before, after)]
    return nearest
