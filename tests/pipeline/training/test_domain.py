"""A description of the training clips tells other clips of their kind from those of another."""

from pathlib import Path

import pytest
import torch

from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.training.data import load
from arpgnet.pipeline.training.domain import FACTOR, Domain, domain_of, view_means
from helpers.synthetic_data import CHANNELS, EMBEDDING, write_data


def clips(count: int, *, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Views that vary along a few directions, and a little along all; one feature is constant."""
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = torch.randn(count, 3, generator=draws, dtype=torch.float64) @ mixing
    views += 0.3 * torch.randn(count, 40, generator=draws, dtype=torch.float64) + shift
    views[:, 7] = 2.0
    return views


@pytest.mark.parametrize(("train", "val"), [(200, 60), (12, 30), (200, 4)])
def test_clips_of_the_same_kind_are_near_and_others_are_not(train: int, val: int) -> None:
    domain = Domain.of(clips(train, seed=1), clips(val, seed=2))
    same, other = (domain.distance(clips(200, seed=3, shift=shift)) for shift in (0.0, 3.0))
    assert domain.fraction_beyond(same) <= 0.12
    assert domain.fraction_beyond(other) == 1
    assert (domain.percentile(other) == 1).all()
    assert domain.percentile(same).median() == pytest.approx(0.5, abs=0.35)
    # the training clips themselves would make a limit that is too low
    if train < 40:
        assert domain.distance(clips(train, seed=1)).mean() < same.mean()


def test_few_validation_clips_give_a_wide_limit_and_none_give_none() -> None:
    few = Domain.of(clips(50, seed=1), clips(5, seed=2))
    assert few.limit == FACTOR * few.known.max()
    none = Domain.of(clips(50, seed=1), clips(5, seed=2) * torch.nan)
    assert not none.beyond(none.distance(clips(5, seed=3, shift=9.0))).any()


def test_views_without_a_face_count_nowhere(tmp_path: Path) -> None:
    whole = clips(50, seed=1)
    gaps = torch.cat([whole, torch.full((3, 40), torch.nan, dtype=torch.float64)])
    one, two = Domain.of(whole, whole), Domain.of(gaps, gaps)
    assert torch.equal(one.distance(whole), two.distance(whole))
    assert torch.equal(one.known, two.known)
    assert one.fraction_beyond(one.distance(gaps[-3:])) is None
    assert one.fraction_beyond(one.distance(gaps)) == one.fraction_beyond(one.distance(whole))
    write_data(tmp_path)
    dataset, _ = load(read_manifest(tmp_path / "data/manifest.parquet"), tmp_path)
    features = dataset.features
    features.valid[0], features.valid[1] = True, False
    found = view_means(features, torch.tensor([[0, 1, -1], [1, -1, -1]]).numpy())
    expected = torch.cat([features.embedding[0], features.map_vector[0]]).double()
    torch.testing.assert_close(found[0], expected)
    assert found[1].isnan().all()
    assert found.shape == (2, EMBEDDING + CHANNELS)


def test_it_is_read_as_it_was_written() -> None:
    domain = Domain.of(clips(50, seed=1), clips(20, seed=2))
    again = domain_of({"head.weight": torch.zeros(1)} | domain.tensors())
    assert again is not None
    assert torch.equal(again.distance(clips(9, seed=3)), domain.distance(clips(9, seed=3)))
    assert domain_of({"head.weight": torch.zeros(1)}) is None
