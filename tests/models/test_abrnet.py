"""ABRNet against a plain implementation in loops, its switches, and its place in the network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arpgnet.models.abrnet import ABRNet, ABRNetConfig, RelationLayer
from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params_file import parse_params
from helpers.network_configs import arpgnet_config

FRAMES, REGIONS, UNITS, WIDTH = 3, 6, 4, 8
SWITCHES: list[dict[str, Any]] = [
    {},
    {"pool": "mean"},
    {"relations": "attention"},
    {"layers": 0},
    {"fuse": False},
    {"layers": 1, "relations": "attention", "fuse": False, "pool": "mean"},
]


def settings(**changed: Any) -> ABRNetConfig:
    plain: dict[str, Any] = {
        "units": UNITS, "pool": "attention", "relations": "matrix", "layers": 3, "heads": 2,
        "fuse": True, "dropout": 0.3,
    }  # fmt: skip
    return ABRNetConfig(**{**plain, **changed})


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    visible = torch.ones(FRAMES, REGIONS, dtype=torch.bool)
    visible[0, 2] = visible[1, :4] = False
    return torch.randn(FRAMES, REGIONS, WIDTH), visible


def network(**changed: Any) -> ABRNet:
    torch.manual_seed(0)
    return ABRNet(settings(**changed), WIDTH).eval()


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def attended(query: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int) -> np.ndarray:
    """Multi-head attention of one query, [E] over [S, E]."""
    width = len(query) // heads
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        weights = softmax([float(query[own] @ key[own]) / math.sqrt(width) for key in keys])
        parts.append(sum(w * value[own] for w, value in zip(weights, values, strict=True)))
    return np.concatenate(parts)


def plain(net: ABRNet, x: Tensor, visible: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The same head, unit by unit."""
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}
    config = net.config

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        return np.asarray(state[f"{name}.weight"] @ value + state[f"{name}.bias"])

    def norm(name: str, value: np.ndarray) -> np.ndarray:
        scaled = (value - value.mean()) / np.sqrt(value.var() + 1e-5)
        return np.asarray(scaled * state[f"{name}.weight"] + state[f"{name}.bias"])

    def elu(value: np.ndarray) -> np.ndarray:
        return np.where(value > 0, value, np.expm1(value))

    features = np.zeros((FRAMES, UNITS, WIDTH))
    logits = np.zeros((FRAMES, UNITS))
    for frame, (regions, seen) in enumerate(zip(x.double().numpy(), visible.numpy(), strict=True)):
        shown = regions[seen]
        own = []
        for unit in range(UNITS):
            weights = [1 / len(shown)] * len(shown)
            if config.pool == "attention":
                weights = softmax([float(linear("features.score", one)[unit]) for one in shown])
            pooled = sum(w * one for w, one in zip(weights, shown, strict=True))
            block = pooled @ state["features.weight_ADD"][unit] + state["features.bias_AD"][unit]
            own.append(norm("features.norm", elu(block)))
        units = np.stack(own)
        versions = [units]
        for layer in range(config.layers):
            name = f"relations.{layer}"
            values = np.stack([linear(f"{name}.value", one) for one in units])
            rows = []
            for unit in range(UNITS):
                if config.relations == "matrix":
                    weights = softmax(state[f"{name}.score_AA"][unit].tolist())
                    message = sum(w * one for w, one in zip(weights, values, strict=True))
                else:
                    both = np.stack([linear(f"{name}.query_key", one) for one in units])
                    query, keys = both[unit, :WIDTH], both[:, WIDTH:]
                    message = attended(query, keys, values, config.heads)
                rows.append(norm(f"{name}.norm", units[unit] + elu(np.asarray(message))))
            versions.append(np.stack(rows))
        for unit in range(UNITS):
            mine = np.stack([version[unit] for version in versions])
            refined = mine.mean(0)
            if config.fuse and config.layers:
                weight = state["fusion.attention.in_proj_weight"]
                projected = mine @ weight.T + state["fusion.attention.in_proj_bias"]
                q, k, v = np.split(projected, 3, axis=1)
                out = [
                    linear("fusion.attention.out_proj", attended(one, k, v, config.heads))
                    for one in q
                ]
                refined = norm("fusion.norm", (mine + np.stack(out)).mean(0))
            features[frame, unit] = refined
            logits[frame, unit] = refined @ state["weight_AD"][unit] + state["bias_A"][unit]
    return features, logits


@pytest.mark.parametrize("changed", SWITCHES, ids=str)
def test_the_head_is_the_plain_one(changed: dict[str, Any]) -> None:
    net, (x, visible) = network(**changed), inputs()
    found = net(x, visible)
    for ours, expected in zip(found, plain(net, x, visible), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("relations", ["matrix", "attention"])
def test_dropout_cuts_relations_in_training_only_and_never_a_unit_itself(relations: str) -> None:
    torch.manual_seed(0)
    layer = RelationLayer(settings(relations=relations, dropout=0.5), WIDTH)
    units = torch.randn(200, UNITS, WIDTH)
    shares = layer.train().shares(units)
    assert torch.allclose(shares.sum(-1), torch.ones(shares.shape[:-1]))
    own = torch.eye(UNITS, dtype=torch.bool)
    cut = (shares == 0).float().mean((0, 1))
    assert (cut[own] == 0).all()
    assert ((cut[~own] > 0.35) & (cut[~own] < 0.65)).all()
    assert (layer.eval().shares(units) > 0).all()


def test_a_face_without_a_visible_region_is_finite() -> None:
    x, visible = inputs()
    visible[0] = False
    for output in network()(x, visible):
        assert output.isfinite().all()


def built(abrnet: ABRNetConfig | None, mode: str = "parallel") -> ARPGNet:
    torch.manual_seed(0)
    config = arpgnet_config({"abrnet": abrnet}, {"mode": mode}, num_classes=UNITS)
    edges = torch.tensor([[0, 1], [1, 0]])
    kinds = torch.zeros(2, dtype=torch.int64)
    return ARPGNet(config, edge_index_2E=edges, edge_type_E=kinds, num_nodes=REGIONS).eval()


@pytest.mark.parametrize("mode", ["parallel", "relation"])
def test_its_logits_join_those_of_the_fusion(mode: str) -> None:
    net = built(settings(), mode)
    torch.manual_seed(2)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    given = {
        "embedding_BTE": torch.randn(2, 3, 4),
        "map_BTC": torch.randn(2, 3, 3),
        "nodes_BTNC": torch.randn(2, 3, REGIONS, 3),
        "valid_BT": valid,
    }
    out = net(**given)
    unit = out["unit_logits_BTK"]
    assert unit.shape == (2, 3, UNITS)
    fused = net.head(out["fused_BTD"])
    assert torch.allclose(out["frame_logits_BTK"], fused + unit, atol=1e-6)
    first = net(**{name: value[1:, :1] for name, value in given.items()})
    assert torch.allclose(out["logits_BK"][1:], first["logits_BK"], atol=1e-5)
    out["logits_BK"].sum().backward()
    silent = [name for name, value in net.named_parameters() if value.grad is None]
    assert not silent
    assert not any("units" in name for name, _ in built(None, mode).named_modules())


def test_units_are_the_networks_outputs() -> None:
    with pytest.raises(ValueError, match="ABRNet has 9 units, the network 4 outputs"):
        built(settings(units=9))
    with pytest.raises(ValueError, match=r"relation.abrnet.pool is 'max'; use attention, mean"):
        settings(pool="max")


@pytest.mark.parametrize(
    ("task", "fusion", "said"),
    [
        ({}, {}, "relation.head: abrnet is a head of action units"),
        ({"kind": "action_units"}, {"mode": "appearance"}, "which has no relation branch"),
    ],
)
def test_where_it_has_no_place_it_is_refused(
    task: dict[str, str], fusion: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError) as error:
        parse_params({"relation": {"head": "abrnet"}, "task": task, "fusion": fusion})
    assert said in str(error.value)
