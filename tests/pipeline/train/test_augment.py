from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.train.augment import Augment, noise_of
from arpgnet.pipeline.training.features import Batch, Features, Statistics, statistics
from helpers.synthetic_data import MIRROR

CLIPS, FRAMES, NODES, CHANNELS, EMBEDDING = 6, 5, 4, 3, 2


CELLS = 7


def batch(seed: int = 0, *, dual: bool = False) -> Batch:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    return Batch(
        label=torch.arange(CLIPS),
        embedding=normal(CLIPS, FRAMES, EMBEDDING),
        map_vector=normal(CLIPS, FRAMES, CHANNELS),
        nodes=normal(CLIPS, FRAMES, NODES, CHANNELS),
        node_xy=torch.rand(CLIPS, FRAMES, NODES, 2, generator=draw),
        visible=normal(CLIPS, FRAMES, NODES) > -1,
        valid=torch.ones(CLIPS, FRAMES, dtype=torch.bool),
        **parts_of(draw) if dual else {},
    )


def parts_of(draw: torch.Generator) -> dict[str, torch.Tensor]:
    """What a second view adds."""
    shapes = {
        "parts_embedding": (EMBEDDING,),
        "parts_map": (CHANNELS,),
        "parts_cells": (CELLS, CHANNELS),
    }
    return {
        name: torch.randn(CLIPS, FRAMES, *shape, generator=draw) for name, shape in shapes.items()
    }


def feature_statistics(*, dual: bool = False) -> Statistics:
    given = batch(dual=dual).tensors()
    frames = {n: v.flatten(0, 1) for n, v in given.items() if n != "label"}
    return statistics(Features(**frames), torch.arange(CLIPS * FRAMES))


def augment(*, dual: bool = False, **settings: float) -> Augment:
    off = {"flip": 0.0, "feature_noise": 0.0, "frame_drop": 0.0}
    params = TrainParams.model_validate(off | settings)
    noise = noise_of(params, examples=100)
    return Augment(params, torch.tensor(MIRROR), feature_statistics(dual=dual), noise, CELLS)


def test_noise_falls_with_the_number_of_clips() -> None:
    auto = TrainParams()
    assert noise_of(auto, 60) == noise_of(auto, 1800) == 1.5
    assert noise_of(auto, 7200) == pytest.approx(0.75)
    assert noise_of(auto, 40_000) == pytest.approx(0.318, abs=1e-3)
    assert noise_of(TrainParams(feature_noise=0.3), 60) == 0.3


def changed(change: Augment, given: Batch, generator: torch.Generator) -> Batch:
    return change(given, change.draw(len(given), given.valid.shape[1], generator))


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(first.tensors().values(), second.tensors().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_nothing_changes_when_all_is_off() -> None:
    assert same(changed(augment(), batch(), torch.Generator()), batch())


def test_flip_moves_regions_to_their_mirror_place() -> None:
    chosen = torch.tensor([True, False] * 3)
    before, after = batch(), augment().flip(batch(), chosen)
    for node, mirrored in enumerate(MIRROR):
        assert torch.equal(after.nodes[0, :, node], before.nodes[0, :, mirrored])
        assert torch.equal(after.visible[0, :, node], before.visible[0, :, mirrored])
        expected = before.node_xy[0, :, mirrored] * torch.tensor([-1.0, 1.0]) + torch.tensor([1, 0])
        assert torch.allclose(after.node_xy[0, :, node], expected)
    assert torch.equal(after.nodes[1], before.nodes[1])
    assert torch.equal(after.node_xy[1], before.node_xy[1])


def test_flipping_twice_changes_nothing() -> None:
    every = torch.ones(CLIPS, dtype=torch.bool)
    twice = augment().flip(augment().flip(batch(), every), every)
    assert torch.allclose(twice.node_xy, batch().node_xy)
    assert same(replace(twice, node_xy=batch().node_xy), batch())


def test_noise_has_the_asked_size_and_is_shared_by_frames() -> None:
    many = Batch(
        **{name: value.repeat_interleave(500, 0) for name, value in batch().tensors().items()}
    )
    noisy = changed(augment(feature_noise=0.5), many, torch.Generator().manual_seed(1))
    change = noisy.nodes - many.nodes
    std = feature_statistics().nodes[1]
    assert torch.allclose(change.std((0, 1, 2)), 0.5 * std, rtol=0.05)
    assert torch.allclose(change[:, 0], change[:, 3], atol=1e-5)


def test_a_second_view_has_noise_of_its_own_and_changes_no_other_draw() -> None:
    settings = {"flip": 0.5, "feature_noise": 0.3, "frame_drop": 0.2}
    both = changed(augment(dual=True, **settings), batch(dual=True), torch.Generator())
    one = changed(augment(**settings), batch(), torch.Generator())
    for name, value in one.tensors().items():
        assert torch.equal(both.tensors()[name], value), name
    before = batch(dual=True)
    noise = both.parts_map - before.parts_map
    assert torch.allclose(noise[:, 0], noise[:, 3], atol=1e-5)
    assert not torch.allclose(noise, both.map_vector - before.map_vector)
    assert not torch.equal(both.parts_cells[:, :, 0], both.parts_cells[:, :, 1])


@given(seed=st.integers(0, 2**31), drop=st.floats(0.01, 0.99))
def test_a_clip_keeps_a_frame_and_no_hidden_frame_returns(seed: int, drop: float) -> None:
    first = batch()
    first.valid[:, 2:] = False
    found = changed(augment(frame_drop=drop), first, torch.Generator().manual_seed(seed)).valid
    assert found.any(1).all()
    assert not (found & ~first.valid).any()


@pytest.mark.parametrize("setting", ["flip", "feature_noise", "frame_drop"])
def test_same_generator_same_batch(setting: str) -> None:
    change = augment(**{setting: 0.5})
    first = changed(change, batch(), torch.Generator().manual_seed(3))
    assert same(first, changed(change, batch(), torch.Generator().manual_seed(3)))
    assert not same(first, batch())


def test_a_part_of_the_draws_does_to_its_clips_what_the_whole_does() -> None:
    change = augment(flip=0.5, feature_noise=0.3, frame_drop=0.2)
    draws = change.draw(CLIPS, FRAMES, torch.Generator().manual_seed(0))
    whole = change(batch(), draws)
    halves = [
        change(Batch(**{n: v[own] for n, v in batch().tensors().items()}), draws.part(own))
        for own in torch.arange(CLIPS).tensor_split([2])
    ]
    joined = zip(*(half.tensors().values() for half in halves), strict=True)
    assert same(whole, Batch(*map(torch.cat, joined)))


def test_statistics_move_together() -> None:
    moved = augment().statistics.to(torch.device("cpu"))
    assert isinstance(moved, Statistics)
    assert torch.equal(moved.nodes[1], augment().statistics.nodes[1])
