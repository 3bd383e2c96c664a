import pytest
import torch

from arpgnet.pipeline.training.loop import (
    average_decay,
    class_weights,
    epoch_steps,
    is_embedding,
    make_optimizer,
    warm_cosine,
)


def test_rate_rises_to_lr_and_falls_to_almost_nothing() -> None:
    rates = [warm_cosine(0.1, step, 100, 0.2) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / 21)
    assert rates[20] == max(rates) == pytest.approx(0.1)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_extreme_warm_up(warmup: float) -> None:
    assert all(0 < warm_cosine(0.1, step, 10, warmup) <= 0.1 for step in range(10))


@pytest.mark.parametrize(
    ("clips", "steps"),
    [(60, 150), (100, 150), (168, 150), (300, 250), (3000, 2350), (40000, 31250)],
)
def test_every_size_has_enough_steps(clips: int, steps: int) -> None:
    batches = -(-clips // 32)
    assert 25 * epoch_steps(batches, 25, 150) == steps


def test_average_is_over_so_many_steps() -> None:
    assert average_decay(20) == pytest.approx(0.95)
    assert average_decay(0.1) == 0


@pytest.mark.parametrize(("kind", "ratio"), [("balanced", 4.0), ("sqrt", 2.0)])
def test_rare_class_weighs_more(kind: str, ratio: float) -> None:
    counts = [40, 10, 20]
    weight = class_weights(counts, kind)
    assert weight is not None
    assert (weight[1] / weight[0]).item() == pytest.approx(ratio)
    mean = (weight * torch.tensor(counts)).sum() / sum(counts)
    assert mean.item() == pytest.approx(1)


def test_no_class_weights() -> None:
    assert class_weights([1, 2], "none") is None


def test_only_matrices_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    network.register_parameter("position_table", torch.nn.Parameter(torch.zeros(4, 2)))
    optimizer = make_optimizer([(network, 0.1)], 0.5)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    named = {name: decay[id(p)] for name, p in network.named_parameters()}
    assert named.pop("0.weight") == 0.5
    assert set(named.values()) == {0.0}
    for name in ("fusion.stream_embedding", "backbone.pos_embed", "cls_token"):
        assert is_embedding(name)
    assert not is_embedding("embedding_scale.weight")
