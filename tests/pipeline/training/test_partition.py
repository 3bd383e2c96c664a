import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.training.data import Partition

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)


@given(lengths, st.integers(1, 6))
def test_every_row_is_local_once(frames: np.ndarray, world: int) -> None:
    partitions = [Partition.deal(frames, rank, world) for rank in range(world)]
    rows = np.arange(frames.sum())
    holds = np.stack([partition.local_rows(rows) >= 0 for partition in partitions])
    assert (holds.sum(axis=0) == 1).all()
    for partition in partitions:
        local_rows = partition.local_rows(rows)
        np.testing.assert_array_equal(local_rows[local_rows >= 0], np.arange(partition.length))
        # a clip lies in one piece
        np.testing.assert_array_equal(
            np.repeat(partition.mine(np.arange(len(frames))), frames), local_rows >= 0
        )
        assert partition.local_rows(np.array([-1])) == -1


@given(lengths, st.integers(1, 6))
def test_partitions_are_even(frames: np.ndarray, world: int) -> None:
    local_rows = [Partition.deal(frames, rank, world).length for rank in range(world)]
    assert max(local_rows) - min(local_rows) <= 2 * frames.max()


def test_one_process_holds_all_in_order() -> None:
    partition = Partition.deal(np.array([3, 1, 2]))
    np.testing.assert_array_equal(partition.local_rows(np.arange(6)), np.arange(6))
