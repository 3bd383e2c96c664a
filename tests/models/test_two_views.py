"""Fusion of two views: equal to plain references, and a part of the network."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.models.attention import DotAttention
from arpgnet.models.views import DualViews, ViewFusion
from helpers.network_configs import arpgnet_config

CLIPS, FRAMES, REGIONS, CELLS, CHANNELS, EMBEDDING, WIDTH, HEADS = 2, 3, 5, 4, 6, 7, 8, 2
VECTOR = {"embedding": EMBEDDING, "map": CHANNELS}


def inputs(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(CLIPS, FRAMES, *shape, generator=generator) * 3 + 1

    return {
        "embedding_BTE": normal(EMBEDDING),
        "map_BTC": normal(CHANNELS),
        "nodes_BTNC": normal(REGIONS, CHANNELS),
        "parts_embedding_BTE": normal(EMBEDDING),
        "parts_map_BTC": normal(CHANNELS),
        "parts_cells_BTSC": normal(CELLS, CHANNELS),
    }


def branch(fusion: ViewFusion, vector: dict[str, int] = VECTOR) -> DualViews:
    torch.manual_seed(0)
    sizes = {"channels": CHANNELS, "width": WIDTH, "heads": HEADS}
    made = DualViews(fusion, vector, **sizes, dropout=0.5).eval()
    for module in made.modules():
        # as after training: no layer is the identity
        if isinstance(module, nn.LayerNorm | DotAttention):
            nn.init.normal_(module.bias)
    for name, buffer in made.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + name.endswith("scale"))
    return made


def fused(made: DualViews, given: dict[str, Tensor]) -> Tensor:
    face = {"embedding": given["embedding_BTE"], "map": given["map_BTC"]}
    parts = {"embedding": given["parts_embedding_BTE"], "map": given["parts_map_BTC"]}
    out: Tensor = made(face, parts, given["nodes_BTNC"], given["parts_cells_BTSC"])
    return out


def scaled(made: nn.Module, name: str, x: Tensor) -> Tensor:
    return x * made.get_buffer(f"{name}_scale.scale") + made.get_buffer(f"{name}_scale.shift")


def vectors(made: DualViews, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    face = [
        scaled(made, "embedding", given["embedding_BTE"]),
        scaled(made, "map", given["map_BTC"]),
    ]
    parts = [
        scaled(made, "parts_embedding", given["parts_embedding_BTE"]),
        scaled(made, "parts_map", given["parts_map_BTC"]),
    ]
    return torch.cat(face, -1), torch.cat(parts, -1)


def test_mean_and_concat_are_those_of_the_vectors() -> None:
    given = inputs()
    for fusion in ("mean", "concat"):
        made = branch(fusion)
        face, parts = vectors(made, given)
        joined = (face + parts) / 2 if fusion == "mean" else torch.cat([face, parts], -1)
        torch.testing.assert_close(fused(made, given), made.norm(made.project(joined)))


def attended(layer: DotAttention, query: Tensor, key: Tensor) -> Tensor:
    """As torch's own multi-head attention, whose output projection is the identity here."""
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with torch.no_grad():
        weights = (layer.lin_query.weight, layer.lin_key.weight, layer.lin_value.weight)
        theirs.in_proj_weight.copy_(torch.cat(weights))
        zero = torch.zeros(WIDTH)
        theirs.in_proj_bias.copy_(torch.cat([layer.lin_query.bias, layer.lin_key.bias, zero]))
        theirs.out_proj.weight.copy_(torch.eye(WIDTH))
        theirs.out_proj.bias.copy_(layer.bias)
        return theirs(query, key, key)[0]


def test_attention_is_torch_s_with_skips_each_way() -> None:
    given, made = inputs(), branch("attention")
    tokens = made.tokens
    face = tokens.norm(tokens.project(scaled(tokens, "nodes", given["nodes_BTNC"]))).flatten(0, 1)
    parts = tokens.norm(tokens.project(scaled(tokens, "cells", given["parts_cells_BTSC"])))
    parts = parts.flatten(0, 1)
    seen = [
        (face + attended(tokens.face_to_parts, face, parts)).mean(1),
        (parts + attended(tokens.parts_to_face, parts, face)).mean(1),
    ]
    embeddings = [
        scaled(made, "embedding", given["embedding_BTE"]),
        scaled(made, "parts_embedding", given["parts_embedding_BTE"]),
    ]
    joined = [*embeddings, torch.cat(seen, -1).unflatten(0, (CLIPS, FRAMES))]
    expected = made.norm(made.project(torch.cat(joined, -1)))
    torch.testing.assert_close(fused(made, given), expected)


def test_the_order_of_tokens_does_not_matter() -> None:
    """A mirrored face has the same tokens elsewhere."""
    given, made = inputs(), branch("attention", {"map": CHANNELS})
    shuffled = dict(given)
    for name in ("nodes_BTNC", "parts_cells_BTSC"):
        shuffled[name] = given[name].flip(2)
    torch.testing.assert_close(fused(made, shuffled), fused(made, given))


def network(fusion: ViewFusion | None, vector: str = "map", mode: str = "parallel") -> ARPGNet:
    config = arpgnet_config(
        {"heads": HEADS, "readout": "mean"},
        {"heads": HEADS, "mode": mode},
        num_classes=3,
        embedding_dim=EMBEDDING,
        map_channels=CHANNELS,
        width=WIDTH,
        appearance_vector=vector,
        views=fusion,
    )
    torch.manual_seed(0)
    edges = {"edge_index_2E": torch.zeros(2, 0, dtype=torch.int64)}
    edges["edge_type_E"] = torch.zeros(0, dtype=torch.int64)
    return ARPGNet(config, **edges, num_nodes=REGIONS)


@pytest.mark.parametrize("fusion", get_args(ViewFusion))
@pytest.mark.parametrize("vector", ["embedding", "map", "both"])
@pytest.mark.parametrize("mode", ["parallel", "appearance"])
def test_the_network_learns_from_both_views(fusion: Any, vector: str, mode: str) -> None:
    if (fusion, vector) == ("attention", "embedding"):
        with pytest.raises(ValueError, match="attention reads the views' maps"):
            network(fusion, vector)
        return
    net = network(fusion, vector, mode)
    given = {name: value.requires_grad_() for name, value in inputs().items()}
    valid = torch.ones(CLIPS, FRAMES, dtype=torch.bool)
    net(**given, valid_BT=valid)["logits_BK"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    read = {
        "parts_embedding_BTE": vector != "map",
        "parts_map_BTC": vector != "embedding" and fusion != "attention",
        "parts_cells_BTSC": fusion == "attention",
    }
    assert {name: given[name].grad is not None for name in read} == read
    needed = next(name for name, used in read.items() if used)
    with pytest.raises(ValueError, match="needs parts_"):
        net(**{name: x for name, x in given.items() if name != needed}, valid_BT=valid)


def test_one_view_is_what_it_was() -> None:
    names = [name for name, _ in network(None).appearance.named_parameters()]
    assert names == ["project.weight", "project.bias", "norm.weight", "norm.bias"]
    given, valid = inputs(), torch.ones(CLIPS, FRAMES, dtype=torch.bool)
    net = network(None).eval()
    one = {name: x for name, x in given.items() if not name.startswith("parts")}
    torch.testing.assert_close(
        net(**given, valid_BT=valid)["logits_BK"], net(**one, valid_BT=valid)["logits_BK"]
    )


def test_statistics_reach_both_views() -> None:
    net = network("attention", "both")
    wanted = {
        "embedding": EMBEDDING,
        "nodes": CHANNELS,
        "parts_embedding": EMBEDDING,
        "parts_cells": CHANNELS,
    }
    net.set_feature_statistics(
        **{name: (torch.zeros(size), torch.full((size,), 2.0)) for name, size in wanted.items()}
    )
    scales = {name: x for name, x in net.appearance.named_buffers() if name.endswith(".scale")}
    assert len(scales) == len(wanted)
    assert all((x == 0.5).all() for x in scales.values())
