"""Which frames of a clip are sampled."""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.common.params import DecodeParams

# slack of a window's ends: a time in a file is rounded, 7 / 25 is not 0.28
_TICK_S = 1e-6


def choose(times: np.ndarray, params: DecodeParams) -> np.ndarray:
    """Return indices of the frames to keep, increasing, without repetition.

    - `uniform`: the frame at the center of each of `params.frames` equal parts of the
      clip (equal in frames, which at a fixed rate is equal in time); all frames of a
      clip that has no more than that.
    - `fps`: the frame nearest to each tick of `params.fps`, the first tick being the first
      frame; of two equally near ones the earlier. Fewer frames than ticks: each once.
    - `all`: every frame.

    Shapes:
        times: [n] seconds, strictly increasing, n >= 1.
        result: [m] int64, 1 <= m <= n.
    """
    count = len(times)
    if params.sampling == "all":
        return np.arange(count)
    if params.sampling == "uniform":
        if count <= params.frames:
            return np.arange(count)
        # integers, because (i + 0.5) * n / T in floats may fall on the wrong side
        return (2 * np.arange(params.frames) + 1) * count // (2 * params.frames)
    return _nearest(times, params.fps)


def inside(times: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """Return indices of the frames shown from `start_s` (included) to `end_s` (not), increasing.

    Shapes:
        times: [n] seconds.
    """
    return np.flatnonzero((times >= start_s - _TICK_S) & (times < end_s - _TICK_S))


def _nearest(times: np.ndarray, fps: float) -> np.ndarray:
    """Return the frames nearest to ticks, without a list of ticks: a damaged file may claim years.

    A frame's ticks lie behind the middle between it and the frame before, up to the middle
    between it and the next, that middle included.
    """
    since = times - times[0]
    # a billionth of slack here and below: 0.1 + 0.2 is not 0.3
    last = np.floor(since[-1] * fps + 1e-9)
    middles = (since[:-1] + since[1:]) / 2
    up_to = np.minimum(np.floor((middles + 1e-9) * fps), last)
    return np.flatnonzero(np.diff(np.concatenate([[-1.0], up_to, [last]])) > 0)
