"""A trained network in a form that a tracing exporter can follow, for clips of any length.

The network's own layers are made for training: they cut long clips into bands, work with shapes as
Python numbers and have a backward pass of their own, all of which a trace would freeze at the
example's length. Here the weights stay, and those parts are replaced by plain dense forms: whole
clips, and masks computed inside the graph. `pipeline.export.parity` holds them to the original.
 Memory grows with T^2 for the fusion (1,000
frames: 8 MB a head and clip), which inference affords.

Shape letters as in `models.arpgnet`; G graphs, Q queries, S keys of an attention layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arpgnet.models.arpgnet import ARPGNet, RelationBranch
from arpgnet.models.attention import GAT, Edges, GATv2
from arpgnet.models.fusion import Fusion, FusionConfig
from arpgnet.models.kernels import MASKED_SCORE, NEGATIVE_SLOPE
from arpgnet.pipeline.training.kinds.base import Kind

# name in the graph -> argument of `ARPGNet.forward`
ARGUMENTS = {
    "embedding": "embedding_BTE",
    "map_vector": "map_BTC",
    "nodes": "nodes_BTNC",
    "node_xy": "node_xy_BTN2",
    "visible": "visible_BTN",
    "valid": "valid_BT",
    "parts_embedding": "parts_embedding_BTE",
    "parts_map_vector": "parts_map_BTC",
    "parts_cells": "parts_cells_BTSC",
}
# of the clips what is predicted (`output_name`) and logits; of the frames logits
LOGITS = ("logits", "frame_logits")
# begins the names of further tasks' outputs
ALSO = "also_"


def output_name(kind: Kind) -> str:
    """Return the name of the first output: probabilities, or the values of targets."""
    return "probabilities" if kind.name in ("expression", "action_units") else "values"


def outputs_of(
    outputs: Mapping[str, Tensor], kind: Kind, further: Sequence[Kind] = ()
) -> list[tuple[str, Tensor]]:
    """Return the graph's outputs with their names, in their order, of what the network gives.

    Of the clips what is predicted (`output_name`) and logits [B, K], of the frames logits
    [B, T, K]; of each further task `also_<kind>`, what is predicted of the clips, and
    `also_<kind>_frame_logits`.
    """
    logits_BK = outputs["logits_BK"]
    own = (kind.values(logits_BK), logits_BK, outputs["frame_logits_BTK"])
    found = list(zip((output_name(kind), *LOGITS), own, strict=True))
    if further:
        widths = [len(one.outputs) for one in further]
        clips = outputs["also_logits_BJ"].split(widths, dim=-1)
        frames = outputs["also_frame_logits_BTJ"].split(widths, dim=-1)
        for one, of_clips, of_frames in zip(further, clips, frames, strict=True):
            found.append((f"{ALSO}{one.name}", one.values(of_clips)))
            found.append((f"{ALSO}{one.name}_frame_logits", of_frames))
    return found


def input_names(network: ARPGNet) -> list[str]:
    """The inputs that the network's configuration reads, in a fixed order."""
    config = network.config
    names: list[str] = []
    if "appearance" in config.fusion.streams:
        own = ["map_vector" if name == "map" else name for name in network.appearance.inputs]
        names += own
        if config.views:
            names += [f"parts_{name}" for name in own]
        if config.views == "attention":
            names += ["parts_cells", "nodes"]
    if "relation" in config.fusion.streams:
        coordinates = config.relation.position in ("coordinates", "both")
        names += ["nodes", *(["node_xy"] if coordinates else []), "visible"]
    return [*dict.fromkeys(names), "valid"]


class TraceableNet(nn.Module):
    """The network with positional inputs, `input_names(network)`.

    Its outputs are those of `outputs_of`, float32.
    """

    def __init__(self, network: ARPGNet, kind: Kind, further: Sequence[Kind] = ()) -> None:
        super().__init__()
        self.kind, self.further = kind, further
        self.names = input_names(network)
        self.network = copy.deepcopy(network).eval()
        if "relation" in network.config.fusion.streams:
            _replace_convs(self.network.relation)
            self.network.relation = cast(RelationBranch, DenseRelation(self.network.relation))
        if network.config.fusion.attends:
            _replace_convs(self.network.fusion)
            self.network.fusion = cast(Fusion, WholeClipFusion(self.network.fusion))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        arguments: dict[str, Any] = {
            ARGUMENTS[name]: value for name, value in zip(self.names, inputs, strict=True)
        }
        named = outputs_of(self.network(**arguments), self.kind, self.further)
        return tuple(value for _, value in named)


def _replace_convs(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, GAT):
            setattr(module, name, DenseGAT(child))
        elif isinstance(child, GATv2):
            setattr(module, name, DenseGATv2(child))
        else:
            _replace_convs(child)


class DenseGAT(nn.Module):
    """`models.attention.GAT` without in-place arithmetic; same weights, same shapes."""

    def __init__(self, conv: GAT) -> None:
        super().__init__()
        self.conv = conv

    def forward(
        self, query_GQF: Tensor, key_GSF: Tensor, edges: Edges, *, attention: bool = False
    ) -> tuple[Tensor, Tensor]:
        conv = self.conv
        value_GSHC = conv.lin(key_GSF).unflatten(-1, (conv.heads, -1))
        target_GHQ = (conv.lin(query_GQF).unflatten(-1, (conv.heads, -1)) * conv.att_dst).sum(-1)
        source_GHS = (value_GSHC * conv.att_src).sum(-1)
        score_GHQS = target_GHQ.transpose(1, 2)[..., None] + source_GHS.transpose(1, 2)[:, :, None]
        score_GHQS = F.leaky_relu(score_GHQS, NEGATIVE_SLOPE)
        return _mix(score_GHQS, value_GSHC, conv.bias, edges.mask)


class DenseGATv2(nn.Module):
    """`models.attention.GATv2` over all pairs, a head at a time; same weights, same shapes.

    A head at a time, because the pairs of all heads at once would take H times the memory: for 49
    regions, 64 features and 300 frames 184 MB instead of 46.
    """

    def __init__(self, conv: GATv2) -> None:
        super().__init__()
        self.conv = conv

    def forward(
        self, query_GQF: Tensor, key_GSF: Tensor, edges: Edges, *, attention: bool = False
    ) -> tuple[Tensor, Tensor]:
        conv = self.conv
        value_GSHC = conv.lin_l(key_GSF).unflatten(-1, (conv.heads, -1))
        right_GQHC = conv.lin_r(query_GQF).unflatten(-1, (conv.heads, -1))
        scores = []
        for head in range(conv.heads):
            pair_GQSC = value_GSHC[:, None, :, head] + right_GQHC[:, :, None, head]
            scores.append(F.leaky_relu(pair_GQSC, NEGATIVE_SLOPE) @ conv.att[0, head])
        return _mix(torch.stack(scores, dim=1), value_GSHC, conv.bias, edges.mask)


def _mix(
    score_GHQS: Tensor, value_GSHC: Tensor, bias_E: Tensor, mask_GQS: Tensor
) -> tuple[Tensor, Tensor]:
    alpha_GHQS = score_GHQS.masked_fill(~mask_GQS[:, None], MASKED_SCORE).softmax(-1)
    out_GHQC = alpha_GHQS @ value_GSHC.transpose(1, 2)
    return out_GHQC.transpose(1, 2).flatten(2) + bias_E, alpha_GHQS


class DenseRelation(nn.Module):
    """`models.arpgnet.RelationBranch` with shapes and self-loops that a trace keeps open."""

    def __init__(self, relation: RelationBranch) -> None:
        super().__init__()
        self.relation = relation
        self.adjacency_NN = relation.get_buffer("adjacency_NN")
        # made once: ONNX Runtime cannot make an identity matrix of bools
        self.own_NN = torch.eye(len(self.adjacency_NN), dtype=torch.bool)

    def forward(
        self,
        nodes_BTNC: Tensor,
        node_xy_BTN2: Tensor | None,
        visible_BTN: Tensor,
        *,
        attention: bool,
    ) -> dict[str, Tensor]:
        own = self.relation
        visible_GN = visible_BTN.flatten(0, 1)
        x_GND = own.project(own.node_scale(nodes_BTNC.flatten(0, 1)))
        if own.position in ("learned", "both"):
            x_GND = x_GND + own.position_table
        if own.position in ("coordinates", "both"):
            assert node_xy_BTN2 is not None
            x_GND = x_GND + own.position_mlp(node_xy_BTN2.flatten(0, 1) * 2 - 1)
        x_GND = own.norm(x_GND)
        mask_GNN = self.adjacency_NN & (visible_GN[:, None] | self.own_NN)
        edges = Edges(mask_GNN, visible_GN)  # the dense forms read no candidate keys
        for conv, norm in zip(own.convs, own.norms, strict=True):
            x_GND = norm(x_GND + F.elu(conv(x_GND, x_GND, edges)[0]))
        # element by element: a slice of the shape would be frozen
        clips, frames = nodes_BTNC.shape[0], nodes_BTNC.shape[1]
        out: dict[str, Tensor] = {}
        if own.has_units:
            unit_GAD, unit_GK = own.units(x_GND, visible_GN)
            pooled = unit_GAD.flatten(1)
            out["unit_logits_BTK"] = unit_GK.reshape(clips, frames, unit_GK.shape[-1])
        else:
            pooled = own._read_out(x_GND, visible_GN)[0]
        relation_GD = own.out_norm(own.out(pooled))
        out["relation_BTD"] = relation_GD.reshape(clips, frames, relation_GD.shape[-1])
        return out


class WholeClip:
    """In the place of `models.fusion.Bands`: one band, the clip as it is."""

    @staticmethod
    def cut_queries(x_BTF: Tensor) -> Tensor:
        return x_BTF

    cut_keys = cut_queries
    join = cut_queries


class WholeClipFusion(nn.Module):
    """`models.fusion.Fusion` with positions and window masks computed from the inputs' length."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.config, self.fusion = fusion.config, fusion

    def forward(
        self, streams: list[Tensor], valid_BT: Tensor, *, attention: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        config = self.config
        # counted inside the graph: a Python number would freeze the example's length
        time_T = torch.ones_like(valid_BT[0], dtype=torch.int64).cumsum(0) - 1
        streams = [x + self._offset(x, time_T, i) for i, x in enumerate(streams)]
        for number, copies in enumerate(self.fusion.layers):
            assert isinstance(copies, nn.ModuleList)
            sources = config.sources(number)
            edges = Edges(window_mask(config, sources, time_T, valid_BT), valid_BT)
            streams = [
                copies[i % len(copies)](
                    own,
                    [own if source == "own" else streams[1 - i] for source in sources],
                    WholeClip,
                    edges,
                )[0]
                for i, own in enumerate(streams)
            ]
        return streams, []

    def _offset(self, x_BTD: Tensor, time_T: Tensor, stream: int) -> Tensor:
        offset = torch.zeros_like(x_BTD[0])
        if self.config.position == "sinusoidal":
            offset = offset + positions(time_T, x_BTD.shape[-1])
        elif self.config.position == "learned":
            offset = offset + self.fusion.position_table[time_T]
        if len(self.config.streams) > 1:
            offset = offset + self.fusion.stream_embedding[stream]
        return offset


def window_mask(
    config: FusionConfig, sources: tuple[str, ...], time_T: Tensor, valid_BT: Tensor
) -> Tensor:
    """Bool [B, T, S]: key frames within the window of their source, and valid; S = T a source."""
    apart_TT = (time_T[:, None] - time_T).abs()
    parts = []
    for source in sources:
        cross = source == "other" and config.window_cross is not None
        window = config.window_cross if cross else config.window
        parts.append(apart_TT >= 0 if window in (None, -1) else apart_TT <= window)
    # not `repeat`: its trace keeps the example's number of clips
    return torch.cat(parts, dim=1) & torch.cat([valid_BT] * len(sources), dim=1)[:, None]


def positions(time_T: Tensor, width: int) -> Tensor:
    """`models.fusion.sinusoidal_positions` of given frame numbers; float32 [T, width]."""
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half) * (-math.log(10_000.0) / half))
    angle = time_T[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
