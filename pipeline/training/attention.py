"""A network's attention weights, averaged to what a person can look at.

A weight means little beside the number of keys that share it: a region with five neighbors is
attended to more than one with two, whatever the network has learned. Each figure therefore stands
beside the one of uniform attention: equal weights on all keys that the graph, the window and the
masks allow.

Shape letters: B views, T frames, N regions, H heads, L layers, S keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet, adjacency, masked_mean
from arpgnet.models.fusion import FusionConfig
from arpgnet.pipeline.training.features import Batch

SOURCES = ("own", "other")  # sequence that a frame attends to: its own, or the other branch's
OFFSETS = 6  # frames to either side that are distinguished
TIME_PARTS = 8  # parts of a clip


def attends_to_regions(network: ARPGNet) -> bool:
    """Check whether there is an attention over regions: graph layers with one, or the readout's."""
    config = network.config
    if "relation" not in config.fusion.streams:
        return False
    layers = config.relation.layers > 0 and network.relation.attends
    # action units have a readout of their own
    return layers or (config.relation.readout == "attention" and config.relation.abrnet is None)


def edge_kinds(config: Any, metadata: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return bool [N, N] (target, source) of each kind of edge of the network; together they cover
    the adjacency, and no pair is in two of them."""
    edges_2E = torch.tensor(metadata["edges"], dtype=torch.int64).reshape(-1, 2).T
    count = len(metadata["names"])
    self_NN = torch.eye(count, dtype=torch.bool)
    found = {}
    for number, name in enumerate(("adjacent", "symmetric")):
        of_kind = torch.tensor([kind == name for kind in metadata["edge_types"]], dtype=torch.bool)
        chosen = edges_2E[:, of_kind]
        type_E = torch.full((chosen.shape[1],), number)
        wanted = tuple({name} & set(config.relation.edge_types))
        found[name] = adjacency(chosen, type_E, count, wanted) & ~self_NN
    both_NN = found["adjacent"] & found["symmetric"]
    kinds = {
        "self": self_NN,
        "adjacent": found["adjacent"] & ~both_NN,
        "symmetric": found["symmetric"] & ~both_NN,
        "adjacent and symmetric": both_NN,
    }
    return {name: mask for name, mask in kinds.items() if mask.any()}


def frame_attention(network: ARPGNet, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each region is attended to in each frame, and by uniform attention.

    Averaged as `region_attention` does it, of each frame by itself: float64 [B, T, N] each, rows
    sum to 1, or are 0 where no region is visible. Nothing behind the region graph is computed.
    """
    outputs = network.relation(batch.nodes, batch.node_xy, batch.visible, attention=True)
    visible = batch.visible & batch.valid[..., None]
    found = (
        _received(*_received_weights(network, outputs, visible, uniform=uniform)).numpy()
        for uniform in (False, True)
    )
    return next(found), next(found)


def region_attention(
    network: ARPGNet, outputs: Mapping[str, Tensor], batch: Batch, kinds: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    """Return how much each region is attended to, a view.

    The weights of heads and layers are averaged; what a region receives from the visible regions of
    a frame is averaged over them, weighted by the readout's attention where it has one, then over
    valid frames. A hidden region gets nothing and gives nothing.

    Args:
        outputs: of the network with `attention=True`.
        kinds: of `edge_kinds`.

    Returns:
        `attention` and `uniform`, [B, N], rows that sum to 1; where the graph has layers also
        `edges` and `uniform_edges`, [B, kinds], rows that sum to 1.
    """
    visible = batch.visible & batch.valid[..., None]
    found = {}
    for name, edges in (("attention", "edges"), ("uniform", "uniform_edges")):
        weight_BTN, alpha_BTNN = _received_weights(
            network, outputs, visible, uniform=name == "uniform"
        )
        if alpha_BTNN is not None:
            pairs_BTNN = weight_BTN[..., None] * alpha_BTNN
            shares = [(pairs_BTNN * mask).sum((-2, -1)) for mask in kinds.values()]
            found[edges] = _over_frames(torch.stack(shares, -1), visible)
        found[name] = _over_frames(_received(weight_BTN, alpha_BTNN), visible)
    return found


def _received_weights(
    network: ARPGNet, outputs: Mapping[str, Tensor], visible: Tensor, *, uniform: bool
) -> tuple[Tensor, Tensor | None]:
    """Return each region's weight in its frame [B, T, N], and from where to where [B, T, N, N]."""
    alpha_BTNN = _graph_weights(network, outputs, visible, uniform=uniform)
    if "readout_attention_BTN" in outputs and not uniform:
        return outputs["readout_attention_BTN"].double(), alpha_BTNN
    return visible.double() / visible.sum(-1, keepdim=True).clamp(min=1), alpha_BTNN


def _received(weight_BTN: Tensor, alpha_BTNN: Tensor | None) -> Tensor:
    if alpha_BTNN is None:
        return weight_BTN
    return (weight_BTN[..., None, :] @ alpha_BTNN).squeeze(-2)


def _graph_weights(
    network: ARPGNet, outputs: Mapping[str, Tensor], visible: Tensor, *, uniform: bool
) -> Tensor | None:
    """Average weights [B, T, N, N] over heads and layers; None where no layer has any."""
    if "region_attention_LBTHNN" not in outputs:
        return None
    if not uniform:
        return outputs["region_attention_LBTHNN"].double().mean((0, 3))
    adjacency_NN = network.relation.get_buffer("adjacency_NN")
    own_NN = torch.eye(len(adjacency_NN), dtype=torch.bool)
    mask = adjacency_NN & (visible[..., None, :] | own_NN)
    if not network.relation.own_key:
        others = mask & ~own_NN
        mask = others | (own_NN & ~others.any(-1, keepdim=True))
    return mask.double() / mask.sum(-1, keepdim=True)


def _over_frames(x_BTF: Tensor, visible: Tensor) -> np.ndarray:
    """Mean over the frames that show a region."""
    return masked_mean(x_BTF, visible.any(-1)).numpy()


def time_attention(
    config: FusionConfig, outputs: Mapping[str, Tensor], valid_BT: Tensor
) -> dict[str, dict[str, np.ndarray]]:
    """Return how the fusion's attention lies in time and between the two sequences.

    Returns:
        For each stream: `offsets` and `uniform_offsets` [B, sources, 2 * R + 1], the mean over the
        stream's frames of what they give to frames -R to +R away in `SOURCES` (heads and layers
        averaged; together at most 1, less where a window reaches beyond R = `OFFSETS`); `shares`
        and `uniform_shares` [B, sources], which sum to 1 (0 where no frame sees another); and
        `parts` and `uniform_parts` [B, TIME_PARTS], the attention to each part of the clip's valid
        frames. Empty where the fusion does not attend.
    """
    found = {}
    for stream in config.streams:
        alpha_LBHTS = outputs.get(f"fusion_attention_{stream}_LBHTS")
        if alpha_LBHTS is not None:
            own = _by_source(config, alpha_LBHTS.double().mean(2))
            found[stream] = _in_time(own, valid_BT, "")
            found[stream] |= _in_time(_uniform_in_time(config, valid_BT), valid_BT, "uniform_")
    return found


def _by_source(config: FusionConfig, alpha_LBTS: Tensor) -> Tensor:
    """Return weights [sources, B, T, T], mean over layers."""
    layers, views, frames, _ = alpha_LBTS.shape
    found = alpha_LBTS.new_zeros(len(SOURCES), views, frames, frames)
    for layer, alpha_BTS in enumerate(alpha_LBTS):
        sources = config.sources(layer)
        for source, part in zip(sources, alpha_BTS.split(frames, -1), strict=False):
            found[SOURCES.index(source)] += part / layers
    return found


def _uniform_in_time(config: FusionConfig, valid_BT: Tensor) -> Tensor:
    """Return `_by_source` of uniform weights on the keys within the windows."""
    frames = valid_BT.shape[1]
    apart = _apart(frames).abs()
    layers = []
    for layer in range(config.layers):
        near = [apart <= config.reach(source, frames) for source in config.sources(layer)]
        keys = torch.cat(near, -1) & valid_BT.repeat(1, len(near))[:, None]
        layers.append(keys.double() / keys.sum(-1, keepdim=True).clamp(min=1))
    # layers of mode serial read other sequences, and all of one mode equally many
    return _by_source(config, torch.stack(layers))


def _in_time(alpha: Tensor, valid_BT: Tensor, prefix: str) -> dict[str, np.ndarray]:
    """Summarize weights [sources, B, T, T]."""
    frames = valid_BT.shape[1]
    apart = _apart(frames)
    offsets = [alpha * (apart == offset) for offset in range(-OFFSETS, OFFSETS + 1)]
    received_by_offset = torch.stack(
        [part.sum(-1) for part in offsets], -1
    )  # [sources, B, T, 2 R + 1]
    shares = alpha.sum(-1)
    part_BT = _time_part(valid_BT)
    received_BT = (alpha * valid_BT[:, :, None]).sum((0, 2))
    by_part = [(received_BT * (part_BT == part)).sum(1) for part in range(TIME_PARTS)]
    return {
        f"{prefix}offsets": torch.stack(
            [masked_mean(x, valid_BT) for x in received_by_offset], 1
        ).numpy(),
        f"{prefix}shares": torch.stack(
            [masked_mean(x[..., None], valid_BT)[:, 0] for x in shares], 1
        ).numpy(),
        f"{prefix}parts": torch.stack(by_part, -1).numpy(),
    }


def _apart(frames: int) -> Tensor:
    """Return key frame minus query frame, [T, T]."""
    step = torch.arange(frames)
    return step - step[:, None]


def _time_part(valid_BT: Tensor) -> Tensor:
    """Number a frame's part among `TIME_PARTS` equal parts of the valid frames; -1: not valid."""
    rank = valid_BT.cumsum(1) - 1
    part = rank * TIME_PARTS // valid_BT.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid_BT, part, -1)


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the same arrays of several batches, view after view."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
