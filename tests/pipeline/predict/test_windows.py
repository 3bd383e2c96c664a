"""Windows cover a video, and a short one is shown as evaluation shows a clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.predict.windows import (
    ClipScores,
    FaceResult,
    FrameScores,
    Window,
    clip_layout,
    frame_layout,
)
from arpgnet.pipeline.tables.smoothing import smoothed
from arpgnet.pipeline.video.sampling import choose

SAMPLING = st.sampled_from(["uniform", "fps", "all"])


@given(
    count=st.integers(1, 400),
    frames=st.integers(1, 20),
    sampling=SAMPLING,
    clip_s=st.floats(0.05, 20.0),
    factor=st.floats(1.0, 3.0),
    gap=st.floats(0.0, 30.0),
)
def test_every_frame_lies_in_a_window(
    count: int, frames: int, sampling: str, clip_s: float, factor: float, gap: float
) -> None:
    times = np.arange(count) / 25
    times[count // 2 :] += gap
    params = DecodeParams(sampling=sampling, frames=frames)  # type: ignore[arg-type]
    layout = clip_layout(times, 0.04, params, window_s=clip_s * factor, clip_s=clip_s)
    covered = np.zeros(count, bool)
    begins = [window.first for window in layout.windows]
    assert begins == sorted(set(begins))
    for window in layout.windows:
        covered[window.first : window.end] = True
        shown = layout.picks[window.rows]
        assert len(shown) >= 1
        assert window.first <= shown[0] <= shown[-1] < window.end
    assert covered.all()


@given(count=st.integers(1, 200), sampling=SAMPLING)
def test_a_short_video_is_one_window_sampled_as_a_clip(count: int, sampling: str) -> None:
    times = np.arange(count) / 25
    params = DecodeParams(sampling=sampling, frames=8)  # type: ignore[arg-type]
    layout = clip_layout(times, 0.04, params, window_s=8.0, clip_s=5.0)
    assert layout.picks.tolist() == choose(times, params).tolist()
    (window,) = layout.windows
    assert (window.first, window.end) == (0, count)
    assert window.rows.tolist() == list(range(len(layout.picks)))


def test_overlapping_windows_share_the_frames_they_look_at() -> None:
    times = np.arange(2500) / 25
    params = DecodeParams(frames=16)
    layout = clip_layout(times, 0.04, params, window_s=6.0, clip_s=4.0, stride_s=1.0)
    # 100 s in windows of 3.84 s, 16 frames each, 0.24 s apart: a window every 0.96 s
    assert len(layout.windows) == pytest.approx(101, abs=1)
    assert len(layout.picks) == pytest.approx(100 / 0.24, abs=16)
    assert (layout.window_s, layout.stride_s) == pytest.approx((3.84, 0.96))


@given(
    clip_s=st.floats(0.5, 20.0),
    frames=st.integers(1, 40),
    sampling=SAMPLING,
    stride_s=st.floats(0.04, 3.0),
    rate=st.sampled_from([12.0, 23.976, 25.0, 29.97, 60.0]),
)
def test_windows_follow_each_other_within_the_stride(
    clip_s: float, frames: int, sampling: str, stride_s: float, rate: float
) -> None:
    times = np.arange(1500) / rate
    params = DecodeParams(sampling=sampling, frames=frames)  # type: ignore[arg-type]
    layout = clip_layout(times, 1 / rate, params, window_s=clip_s, clip_s=clip_s, stride_s=stride_s)
    begins = np.array([window.first for window in layout.windows])
    assert np.diff(begins).max(initial=0) <= max(1, stride_s * rate + 0.01)
    if len(begins) > 1:
        assert layout.stride_s == pytest.approx(np.diff(begins)[0] / rate)
        assert abs(layout.window_s - clip_s) <= max(0.1 * clip_s, 1 / rate)


def test_a_stride_below_the_distance_of_samples_divides_it() -> None:
    times = np.arange(2500) / 25
    layout = clip_layout(
        times, 0.04, DecodeParams(frames=16), window_s=9.6, clip_s=9.6, stride_s=0.2
    )
    # samples 0.6 s apart, windows 0.2 s apart: three grids of samples
    assert layout.stride_s == pytest.approx(0.2)
    assert len(layout.picks) == pytest.approx(100 / 0.2, abs=16)


@given(
    count=st.integers(1, 300),
    window=st.integers(1, 40),
    stride=st.integers(1, 40),
    fps=st.floats(1.0, 30.0),
)
def test_windows_of_frames_are_those_of_evaluation(
    count: int, window: int, stride: int, fps: float
) -> None:
    times = np.arange(count) / 25
    params = DecodeParams(sampling="fps", fps=fps)
    layout = frame_layout(times, params, window=window, stride=stride)
    rows = [list(one.rows) for one in layout.windows]
    last = max(0, len(layout.picks) - window)
    assert [own[0] for own in rows] == sorted({*range(0, last, stride), last})
    assert all(len(own) == min(window, len(layout.picks)) for own in rows)
    # a frame may be written when all windows that begin no later are there
    for frame in range(count):
        after = int(np.searchsorted(layout.picks, frame))
        for one in layout.windows:
            if after in one.rows:
                assert one.first <= frame


def test_a_frame_gets_the_weighted_mean_of_its_windows() -> None:
    scores = ClipScores()
    seen = np.array([True, False])
    scores.add(Window(0, 8, range(2)), {5: FaceResult(np.array([1.0, 0.0]), seen)})
    scores.add(Window(3, 11, range(2)), {5: FaceResult(np.array([0.0, 1.0]), seen | True)})
    first, both, last = (scores.at(5, frame) for frame in (2, 5, 8))
    assert first is not None
    assert both is not None
    assert last is not None
    assert first.probabilities.tolist() == [1.0, 0.0]
    assert both.probabilities.tolist() == [0.5, 0.5]
    assert (first.coverage, both.coverage, last.coverage) == (0.5, 0.75, 1.0)
    assert scores.at(6, 8) is None
    # 4 is the fourth frame from the first window's end, and the first of the second window
    scores = ClipScores()
    scores.add(Window(0, 8, range(2)), {5: FaceResult(np.array([1.0, 0.0]), seen)})
    scores.add(Window(4, 12, range(2)), {5: FaceResult(np.array([0.0, 1.0]), seen)})
    nearer = scores.at(5, 4)
    assert nearer is not None
    assert nearer.probabilities == pytest.approx([0.8, 0.2])


def test_a_frame_between_two_gets_the_nearer_ones() -> None:
    scores = FrameScores(np.array([0, 10, 20]), 21)
    values = np.array([[0.0], [1.0], [2.0]])
    scores.add(Window(0, 11, range(2)), {0: FaceResult(values[:2], np.array([True, True]))})
    scores.add(Window(1, 21, range(1, 3)), {0: FaceResult(values[1:] + 2, np.array([True, True]))})
    found = [scores.at(0, frame) for frame in (0, 5, 6, 12, 15, 16, 20)]
    assert [one.probabilities.item() for one in found if one] == [0, 0, 2, 2, 2, 4, 4]


def test_frames_are_smoothed_as_in_evaluation() -> None:
    picks, count, length = np.array([0, 3, 6, 9, 12]), 14, 5
    values = np.random.default_rng(0).dirichlet(np.ones(3), len(picks))
    seen = np.array([True, True, False, True, True])
    scores = FrameScores(picks, count, smooth=length)
    scores.add(Window(0, count, range(len(picks))), {0: FaceResult(values, seen)})
    found = [scores.at(0, frame) for frame in range(count)]
    nearest = picks[seen][np.abs(np.arange(count)[:, None] - picks[seen]).argmin(axis=1)]
    frames = values[np.searchsorted(picks, nearest)]
    expected = smoothed(frames, np.array(["clip"] * count), np.arange(count), length, "expression")
    np.testing.assert_allclose([one.probabilities for one in found if one], expected, rtol=1e-9)
