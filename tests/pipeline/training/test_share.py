import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.training.data import Share

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)


@given(lengths, st.integers(1, 6))
def test_every_row_is_held_once(frames: np.ndarray, world: int) -> None:
    shares = [Share.deal(frames, rank, world) for rank in range(world)]
    rows = np.arange(frames.sum())
    holds = np.stack([share.held(rows) >= 0 for share in shares])
    assert (holds.sum(axis=0) == 1).all()
    for share in shares:
        held = share.held(rows)
        np.testing.assert_array_equal(held[held >= 0], np.arange(share.length))
        # a clip lies in one piece
        np.testing.assert_array_equal(
            np.repeat(share.mine(np.arange(len(frames))), frames), held >= 0
        )
        assert share.held(np.array([-1])) == -1


@given(lengths, st.integers(1, 6))
def test_shares_are_even(frames: np.ndarray, world: int) -> None:
    held = [Share.deal(frames, rank, world).length for rank in range(world)]
    assert max(held) - min(held) <= 2 * frames.max()


def test_one_process_holds_all_in_order() -> None:
    share = Share.deal(np.array([3, 1, 2]))
    np.testing.assert_array_equal(share.held(np.arange(6)), np.arange(6))
