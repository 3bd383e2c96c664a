"""ARPGNet as a user of PyTorch Geometric would write it: the reference of `train.py`.

Same parameters under the same names and the same mathematics as `models.arpgnet.ARPGNet` in the
settings of params.yaml (GAT, learned node positions, flatten readout, parallel fusion with
feed-forward), so a state dict moves either way without a mapping. What differs is how it is said:
every frame is a `Data` object, a step's frames are collated by `Batch.from_data_list`, and
attention is `GATConv` on an edge list, over the regions of a frame and over the frames of a clip.

Shape letters as in models/arpgnet.py; G = B * T frames of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATConv

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.models.fusion import sinusoidal_positions

STREAMS = ("appearance", "relation")


class Clip(Data):
    """The frames of both sequences as nodes 0..T-1 (appearance) and T..2T-1 (relation).

    `edge_index_appearance` and `edge_index_relation` run from all 2T nodes to the T of one
    sequence.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key.startswith("edge_index_"):
            nodes = self.num_nodes
            return torch.tensor([[nodes], [nodes // 2]])
        return super().__inc__(key, value, *args, **kwargs)


def frame_graphs(
    nodes_TNC: Tensor, map_TC: Tensor, visible_TN: Tensor, edge_index_2E: Tensor
) -> list[Data]:
    """One graph a frame; edges from hidden regions are left out, self-loops stay."""
    loops = torch.arange(nodes_TNC.shape[1]).expand(2, -1)
    graphs = []
    for x_NC, map_C, visible_N in zip(nodes_TNC, map_TC, visible_TN, strict=True):
        seen = edge_index_2E[:, visible_N[edge_index_2E[0]]]
        edge_index = torch.cat([seen, loops], dim=1)
        graphs.append(Data(x=x_NC, edge_index=edge_index, map=map_C[None], visible=visible_N))
    return graphs


def clip_graph(valid_T: Tensor, window: int) -> Clip:
    """Edges from valid frames of both sequences to frames at most `window` away."""
    frames = len(valid_T)
    frame_T = torch.arange(frames)
    near_TS = ((frame_T[:, None] - frame_T).abs() <= window) & valid_T
    target, source = torch.cat([near_TS, near_TS], dim=1).nonzero(as_tuple=True)
    # the relation sequence's queries read their own stream first, which attention does not see
    edges = {f"edge_index_{name}": torch.stack([source, target]) for name in STREAMS}
    return Clip(num_nodes=2 * frames, valid=valid_T[None], **edges)


class PygARPGNet(nn.Module):
    """Shapes: frames (a batch of B * T graphs), clips (a batch of B) -> logits_BK."""

    def __init__(self, config: ARPGNetConfig, num_nodes: int) -> None:
        super().__init__()
        self.appearance = Appearance(config)
        self.relation = Relation(config, num_nodes)
        self.fusion = FrameFusion(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.width, config.num_classes)

    def forward(self, frames: Batch, clips: Batch) -> Tensor:
        valid_BT = clips.valid
        appearance_GD = self.appearance(frames.map)
        relation_GD = self.relation(frames)
        fused_BTF = torch.cat(self.fusion(appearance_GD, relation_GD, clips), dim=-1)
        weight_BT1 = (valid_BT / valid_BT.sum(1, keepdim=True).clamp(min=1))[..., None]
        return self.head(self.dropout((fused_BTF * weight_BT1).sum(1)))


class Appearance(nn.Module):
    def __init__(self, config: ARPGNetConfig) -> None:
        super().__init__()
        self.map_scale = Scale(config.map_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(config.map_channels, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, map_GC: Tensor) -> Tensor:
        return self.norm(self.project(self.dropout(self.map_scale(map_GC))))


class Relation(nn.Module):
    def __init__(self, config: ARPGNetConfig, num_nodes: int) -> None:
        super().__init__()
        relation, width = config.relation, config.width
        self.num_nodes = num_nodes
        self.node_scale = Scale(config.map_channels)
        self.project = nn.Linear(config.map_channels, width)
        self.position_table = nn.Parameter(torch.randn(num_nodes, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.convs = nn.ModuleList(
            GATConv(width, width // relation.heads, heads=relation.heads, add_self_loops=False)
            for _ in range(relation.layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(relation.layers))
        self.dropout = nn.Dropout1d(relation.dropout)
        self.out = nn.Linear(num_nodes * width, width)
        self.out_norm = nn.LayerNorm(width)

    def forward(self, frames: Batch) -> Tensor:
        x = self.project(self.node_scale(frames.x))
        x = self.norm(x + self.position_table.repeat(frames.num_graphs, 1))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            message = F.elu(conv(x, frames.edge_index)).view(frames.num_graphs, self.num_nodes, -1)
            message = self.dropout(message.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
            x = norm(x + message)
        x = x * frames.visible[:, None]
        return self.out_norm(self.out(x.view(frames.num_graphs, -1)))


class FrameFusion(nn.Module):
    def __init__(self, config: ARPGNetConfig) -> None:
        super().__init__()
        self.stream_embedding = nn.Parameter(torch.randn(2, config.width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(FrameLayer(config) for _ in STREAMS) for _ in range(config.fusion.layers)
        )

    def forward(self, appearance_GD: Tensor, relation_GD: Tensor, clips: Batch) -> list[Tensor]:
        count, frames = clips.valid.shape
        width = appearance_GD.shape[1]
        offset_TD = sinusoidal_positions(frames, width, appearance_GD.device)
        streams = [
            x.view(count, frames, width) + offset_TD + self.stream_embedding[i]
            for i, x in enumerate((appearance_GD, relation_GD))
        ]
        for layer in self.layers:
            nodes = torch.cat(streams, dim=1).flatten(0, 1)
            streams = [
                update(nodes, own.flatten(0, 1), clips[f"edge_index_{name}"]).view_as(own)
                for update, own, name in zip(layer, streams, STREAMS, strict=True)
            ]
        return streams


class FrameLayer(nn.Module):
    def __init__(self, config: ARPGNetConfig) -> None:
        super().__init__()
        width, fusion = config.width, config.fusion
        self.conv = GATConv(width, width // fusion.heads, heads=fusion.heads, add_self_loops=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(fusion.dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.ELU(),
            nn.Dropout(fusion.dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(fusion.dropout),
        )
        self.feed_forward_norm = nn.LayerNorm(width)

    def forward(self, nodes: Tensor, own: Tensor, edge_index: Tensor) -> Tensor:
        x = self.norm(own + self.dropout(F.elu(self.conv((nodes, own), edge_index))))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Scale(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift
