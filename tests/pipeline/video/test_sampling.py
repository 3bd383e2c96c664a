import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.video.sampling import choose

gaps = st.lists(st.floats(0.001, 2.0), min_size=0, max_size=200)
counts = st.integers(1, 300)


def times(steps: list[float]) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(steps)])


@settings(deadline=None)
@given(gaps, st.sampled_from(["uniform", "fps", "all"]), counts, st.floats(0.5, 60))
def test_chosen_frames_increase_and_exist(
    steps: list[float], sampling: str, frames: int, fps: float
) -> None:
    params = DecodeParams.model_validate({"sampling": sampling, "frames": frames, "fps": fps})
    chosen = choose(times(steps), params)
    assert 1 <= len(chosen) <= len(steps) + 1
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] <= len(steps)


@settings(deadline=None)
@given(counts, counts)
def test_uniform_takes_the_centers_of_equal_parts(count: int, frames: int) -> None:
    chosen = choose(np.arange(count) / 25, DecodeParams(frames=frames))
    assert len(chosen) == min(count, frames)
    if count > frames:
        centers = (np.arange(frames) + 0.5) * count / frames
        assert (np.abs(chosen + 0.5 - centers) <= 0.5 + 1e-9).all()
    # the same seen from the end, give or take the frame on a boundary
    mirrored = count - 1 - chosen[::-1]
    assert np.abs(mirrored - chosen).max() <= 1


@settings(deadline=None)
@given(gaps, st.floats(0.5, 60))
def test_fps_takes_the_nearest_frame_to_each_tick(steps: list[float], fps: float) -> None:
    at = times(steps)
    chosen = choose(at, DecodeParams(sampling="fps", fps=fps))
    ticks = np.arange(int(at[-1] * fps) + 1) / fps
    nearest = {int(np.abs(at - tick).argmin()) for tick in ticks}
    distance = [np.abs(at - tick).min() for tick in ticks]
    taken = [np.abs(at[chosen] - tick).min() for tick in ticks]
    np.testing.assert_allclose(taken, distance, atol=1e-6)
    assert len(chosen) <= len(nearest) + 1


def test_fps_of_a_regular_clip() -> None:
    chosen = choose(np.arange(50) / 25, DecodeParams(sampling="fps", fps=5))
    assert chosen.tolist() == list(range(0, 50, 5))
    every = choose(np.arange(50) / 25, DecodeParams(sampling="fps", fps=60))
    assert every.tolist() == list(range(50))


def test_years_between_two_frames_cost_nothing() -> None:
    """A damaged header may claim them; a list of all ticks would not fit into memory."""
    at = np.array([0.0, 0.04, 0.08, 3e9, 3e9 + 0.04])
    assert choose(at, DecodeParams(sampling="fps", fps=30)).tolist() == [0, 1, 2, 3, 4]
    assert choose(at, DecodeParams(sampling="fps", fps=0.001)).tolist() == [0, 2, 3]
