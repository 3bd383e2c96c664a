"""Sliding-window smoothing of frame predictions.

Of each frame the mean over the frames of its clip that are at most half a window before or after
it: of the logarithms of class probabilities, of the logits of action units, of other values
themselves. Nothing is learned but the window's length.

Shape letters: U frames of any clips, K outputs.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.tables.predictions import EXPRESSION

# a probability that is 0 in float32 must not decide a whole window
LEAST = 1e-12


def to_scores(values: np.ndarray, kind: str) -> np.ndarray:
    """Return what is averaged of predictions [..., K] of a task: float64."""
    values = values.astype(np.float64)
    if kind == EXPRESSION:
        return np.log(np.maximum(values, LEAST))
    if kind == "action_units":
        return np.log(np.maximum(values, LEAST)) - np.log(np.maximum(1 - values, LEAST))
    return values


def from_scores(scores: np.ndarray, kind: str) -> np.ndarray:
    """Return the predictions [..., K] of a task that have these scores."""
    if kind == EXPRESSION:
        powers: np.ndarray = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    if kind == "action_units":
        odds: np.ndarray = 1 / (1 + np.exp(-scores))
        return odds
    return scores


def smoothed(
    values: np.ndarray, clip_id: np.ndarray, frame_index: np.ndarray, length: int, kind: str
) -> np.ndarray:
    """Smooth predictions over a window of an odd number of video frames.

    The window is shorter at a clip's ends, and where frames in it are not predicted: they have no
    label, were left out, or are rows of NaN, which stay as they are.

    Args:
        values: [U, K], of one model and run; in any order.
        clip_id: str [U].
        frame_index: int64 [U], their numbers in the video.
        kind: the task.
    """
    if length == 1 or not len(values):
        return values
    half = length // 2
    clip = np.unique(clip_id.astype(str), return_inverse=True)[1]
    # clips end to end on one axis of time, too far apart for a window to reach the next one
    time = clip * (int(frame_index.max()) + half + 1) + frame_index
    order = np.argsort(time, kind="stable")
    time = time[order]
    known = ~np.isnan(values[order]).any(axis=1)
    scores = np.where(known[:, None], to_scores(values[order], kind), 0.0)
    total = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)])
    count = np.concatenate([[0], np.cumsum(known)])
    first = np.searchsorted(time, time - half, side="left")
    end = np.searchsorted(time, time + half, side="right")
    mean = (total[end] - total[first]) / np.maximum(count[end] - count[first], 1)[:, None]
    found = np.full(values.shape, np.nan)
    found[order[known]] = from_scores(mean[known], kind)
    return found
