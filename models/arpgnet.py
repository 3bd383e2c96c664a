"""ARPGNet: appearance- and relation-aware parallel graph attention fusion network.

    Li, Zhao, Xia, Jiang; IEEE Transactions on Affective Computing 2025; arXiv 2511.22188.

This is an independent reimplementation from public descriptions (abstract and summaries): the
paper's equations and settings were not available to us, and no code of the authors is public.

The paper's: a CNN gives each frame an appearance vector and a feature map; patches of the map are
the nodes of a facial-region graph with adjacency and left-right symmetry edges; graph attention
turns them into a relation vector; both sequences pass through a parallel graph attention fusion
with temporal position encoding and local context; then classification.
Ours, and therefore settings: all widths, layer and head counts, residual + LayerNorm after each
layer, ELU, GAT (v1), node position embedding, readout, window, merging by concatenation, mean over
time, dropout, and the use of the pooled feature map as appearance vector.

A second view of each face, its enlarged parts, may join the appearance branch (`models.views`).

Shape letters: B clips, T frames, N regions (graph nodes), C map channels, E embedding features,
S = h * w map cells, D width, F fused features (2 D where two streams are concatenated, else D),
H heads, L layers, K classes, J outputs of further tasks, G = B * T graphs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arpgnet.models import kernels
from arpgnet.models.abrnet import ABRNet, ABRNetConfig
from arpgnet.models.attention import CONVS, Edges
from arpgnet.models.fusion import Fusion, FusionConfig, check_choice
from arpgnet.models.inputs import Standardize, required
from arpgnet.models.views import DualViews, ViewFusion

# our layers, or a class of torch_geometric.nn (`models.pyg_convs`)
RelationConv = Literal["gat", "gatv2"] | str
OWN_CONVS: tuple[Literal["gat", "gatv2"], ...] = ("gat", "gatv2")
Readout = Literal["mean", "attention", "flatten"]
NodePosition = Literal["none", "learned", "coordinates", "both"]
AppearanceVector = Literal["embedding", "map", "both"]
EDGE_TYPES = ("adjacent", "symmetric")  # the value in `edge_type` is the index here

MeanStd = tuple[Tensor, Tensor]  # mean and standard deviation of each feature


@dataclass(frozen=True, kw_only=True)
class RelationConfig:
    """Settings of the relation branch.

    Attributes:
        conv: attention scores (`models.attention`), or a convolution of torch_geometric by the name
            of its class.
        conv_args: arguments of such a class, beside those that follow from the graph and the width.
        layers: graph layers; 0 = no graph, regions are read out as they are.
        heads: attention heads, concatenated; of a class of torch_geometric if it has heads.
        readout: regions to one vector: mean over visible ones, attention (a learned score a region,
            softmax over visible ones), or flatten (keeps where each region is).
        position: node position embedding: a learned table, a small MLP of the node's coordinates in
            this frame, both (added), or none.
        edge_types: those of `EDGE_TYPES` that join regions; a self-loop always stands.
        dropout: on each residual branch, of a channel in all regions of a frame together.
        attention_dropout: on attention weights.
        abrnet: a head of action units on the regions, after the layers (`models.abrnet`): its
            features replace the readout, and its logits are added to the classifier's; None: none.
    """

    conv: RelationConv
    conv_args: Mapping[str, Any]
    layers: int
    heads: int
    readout: Readout
    position: NodePosition
    edge_types: tuple[str, ...]
    dropout: float
    attention_dropout: float
    abrnet: ABRNetConfig | None

    def __post_init__(self) -> None:
        check_relation_conv(self.conv, self.conv_args)
        check_choice("relation.readout", self.readout, get_args(Readout))
        check_choice("relation.position", self.position, get_args(NodePosition))
        for name in self.edge_types:
            check_choice("relation.edge_types", name, EDGE_TYPES)
        if self.layers < 0:
            raise ValueError(f"relation.layers is {self.layers}; use 0 (no graph) or more")


@dataclass(frozen=True, kw_only=True)
class ARPGNetConfig:
    """Settings of `ARPGNet`; plain values, so that a parameter file can hold them.

    There are no defaults here: `params.yaml` has them, and `network_config` passes them on.

    Attributes:
        num_classes: K.
        embedding_dim: E, features of the face embedding.
        map_channels: C, channels of the feature map.
        width: D of both streams.
        appearance_vector: what makes the appearance stream: the embedding, the mean-pooled feature
            map (a recognition embedding discards expression; the map keeps more), or both.
        dropout: on the appearance vector and before the classifier.
        views: how the appearance branch fuses a second view of the face; None: it has one view.
        also: J, outputs of further tasks, of a linear head of their own; 0: there is none.
    """

    num_classes: int
    embedding_dim: int
    map_channels: int
    width: int
    appearance_vector: AppearanceVector
    dropout: float
    relation: RelationConfig
    fusion: FusionConfig
    views: ViewFusion | None
    also: int

    def __post_init__(self) -> None:
        check_choice("appearance_vector", self.appearance_vector, get_args(AppearanceVector))
        if self.views is not None:
            check_choice("views.fusion", self.views, get_args(ViewFusion))
        if self.views == "attention" and self.appearance_vector == "embedding":
            raise ValueError(
                "views.fusion: attention reads the views' maps: set appearance.vector to map or "
                "both, or views.fusion to mean or concat"
            )
        units = self.relation.abrnet.units if self.relation.abrnet else self.num_classes
        if units != self.num_classes:
            raise ValueError(f"ABRNet has {units} units, the network {self.num_classes} outputs")


class ARPGNet(nn.Module):
    """Classify face clips, and each of their frames, from per-frame CNN features.

    Args:
        config: every setting.
        edge_index_2E: int64 [2, edges], source then target node; both directions are listed.
        edge_type_E: int64 [edges], index into `EDGE_TYPES`.
        num_nodes: N.
    """

    def __init__(
        self,
        config: ARPGNetConfig,
        *,
        edge_index_2E: Tensor,
        edge_type_E: Tensor,
        num_nodes: int,
    ) -> None:
        super().__init__()
        self.config = config
        streams = config.fusion.streams
        if "appearance" in streams:
            self.appearance = (
                AppearanceBranch(config) if config.views is None else dual_views(config)
            )
        if "relation" in streams:
            chosen = config.relation.edge_types
            adjacency_NN = adjacency(edge_index_2E, edge_type_E, num_nodes, chosen)
            by_kind = [
                adjacency(edge_index_2E, edge_type_E, num_nodes, (kind,) if kind in chosen else ())
                for kind in EDGE_TYPES
            ]
            kinds_KNN = torch.stack(by_kind) & ~torch.eye(num_nodes, dtype=torch.bool)
            self.relation = RelationBranch(config, adjacency_NN, kinds_KNN)
        self.fusion = Fusion(config.fusion, config.width)
        joined = 1 if config.fusion.mode == "add" else len(streams)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(joined * config.width, config.num_classes)
        if config.also:
            # last: all else starts as without it
            self.also_head = nn.Linear(joined * config.width, config.also)

    def forward(
        self,
        *,
        embedding_BTE: Tensor | None = None,
        map_BTC: Tensor | None = None,
        nodes_BTNC: Tensor | None = None,
        node_xy_BTN2: Tensor | None = None,
        visible_BTN: Tensor | None = None,
        valid_BT: Tensor,
        parts_embedding_BTE: Tensor | None = None,
        parts_map_BTC: Tensor | None = None,
        parts_cells_BTSC: Tensor | None = None,
        attention: bool = False,
    ) -> dict[str, Tensor]:
        """Return logits and named intermediates.

        Args:
            embedding_BTE: float, face embedding; read when `appearance_vector` asks for it.
            map_BTC: float, feature map averaged over its cells; likewise.
            nodes_BTNC: float, region features (`pool_nodes`).
            node_xy_BTN2: float, region centers in [0, 1] of the crop, for coordinate positions.
            visible_BTN: bool, regions to use; None = all. A hidden one is no key and not read out.
            valid_BT: bool, frames to use. Features of the others must be finite; they are ignored.
            parts_embedding_BTE, parts_map_BTC, parts_cells_BTSC: float, of the second view, with
                `views`: its embedding, mean map and map, of which the fusion reads what it needs.
            attention: also return attention weights.

        Returns:
            logits_BK: from the masked mean over valid frames (of zeros where there is none);
            frame_logits_BTK: the same head on every frame, meaningless on invalid ones;
            appearance_BTD, relation_BTD: the streams that exist, before fusion;
            also_logits_BJ, also_frame_logits_BTJ: likewise those of further tasks, if any;
            unit_logits_BTK: ABRNet's part of the frames' logits, where there is one;
            fused_BTD: after it, D or 2 D wide (concatenated streams); with `attention`:
            region_attention_LBTHNN (target node, source node) where the convolution has some,
            readout_attention_BTN for the attention readout, fusion_attention_appearance_LBHTS and
            fusion_attention_relation_LBHTS
            (query frame; keys T of the own stream, then T of the other, as far as the mode reads
            them). Rows sum to 1, or are all 0 where every key is masked.

        Raises:
            ValueError: an input that the configuration needs is None.
        """
        out: dict[str, Tensor] = {}
        streams = self.config.fusion.streams
        if "appearance" in streams:
            face = {"embedding": embedding_BTE, "map": map_BTC}
            parts = {"embedding": parts_embedding_BTE, "map": parts_map_BTC}
            out["appearance_BTD"] = self.appearance(face, parts, nodes_BTNC, parts_cells_BTSC)
        if "relation" in streams:
            out |= self.relation(nodes_BTNC, node_xy_BTN2, visible_BTN, attention=attention)
        fused, weights = self.fusion(
            [out[f"{name}_BTD"] for name in streams], valid_BT, attention=attention
        )
        for name, alpha_LBHTS in zip(streams, weights, strict=False):  # no weights: no layers
            out[f"fusion_attention_{name}_LBHTS"] = alpha_LBHTS
        add = self.config.fusion.mode == "add"
        fused_BTF = fused[0] + fused[1] if add else torch.cat(fused, dim=-1)
        out["fused_BTD"] = fused_BTF
        frames_BTF = self.dropout(fused_BTF)
        clips_BF = self.dropout(masked_mean(fused_BTF, valid_BT))
        out["frame_logits_BTK"] = self.head(frames_BTF)
        out["logits_BK"] = self.head(clips_BF)
        if self.config.also:
            out["also_frame_logits_BTJ"] = self.also_head(frames_BTF)
            out["also_logits_BJ"] = self.also_head(clips_BF)
        if "unit_logits_BTK" in out:
            unit_BTK = out["unit_logits_BTK"]
            out["frame_logits_BTK"] = out["frame_logits_BTK"] + unit_BTK
            out["logits_BK"] = out["logits_BK"] + masked_mean(unit_BTK, valid_BT)
        return out

    def set_feature_statistics(
        self,
        *,
        embedding: MeanStd | None = None,
        map_vector: MeanStd | None = None,
        nodes: MeanStd | None = None,
        parts_embedding: MeanStd | None = None,
        parts_map: MeanStd | None = None,
        parts_cells: MeanStd | None = None,
    ) -> None:
        """Set the mean and standard deviation, per feature, by which inputs are standardized.

        They come from training frames, belong to the state dict, and are (0, 1) until set. Those of
        an input which this configuration does not read are ignored.
        """
        provided = {
            "appearance.embedding_scale": embedding,
            "appearance.map_scale": map_vector,
            "relation.node_scale": nodes,
            "appearance.parts_embedding_scale": parts_embedding,
            "appearance.parts_map_scale": parts_map,
            "appearance.tokens.nodes_scale": nodes,
            "appearance.tokens.cells_scale": parts_cells,
        }
        modules = dict(self.named_modules())
        for name, statistics in provided.items():
            module = modules.get(name)
            if statistics is not None and isinstance(module, Standardize):
                module.set(*statistics)


class AppearanceBranch(nn.Module):
    """Embedding and/or mean feature map of each frame -> a[B, T, D]."""

    def __init__(self, config: ARPGNetConfig) -> None:
        super().__init__()
        dims = vector_inputs(config)
        self.inputs = tuple(dims)
        for name in self.inputs:
            self.add_module(f"{name}_scale", Standardize(dims[name]))
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(sum(dims[name] for name in self.inputs), config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, face: Mapping[str, Tensor | None], *_: object) -> Tensor:
        """What there is of a second view (`DualViews`) is ignored."""
        inputs = [
            self.get_submodule(f"{name}_scale")(required(face[name], f"{name} features"))
            for name in self.inputs
        ]
        return self.norm(self.project(self.dropout(torch.cat(inputs, dim=-1))))


def vector_inputs(config: ARPGNetConfig) -> dict[str, int]:
    """Return the features of each input of the appearance vector, by name."""
    dims = {"embedding": config.embedding_dim, "map": config.map_channels}
    kind = config.appearance_vector
    return dims if kind == "both" else {kind: dims[kind]}


def dual_views(config: ARPGNetConfig) -> DualViews:
    """Return the appearance branch of two views; it attends with as many heads as the fusion."""
    assert config.views is not None
    return DualViews(
        config.views,
        vector_inputs(config),
        channels=config.map_channels,
        width=config.width,
        heads=config.fusion.heads,
        dropout=config.dropout,
    )


class RelationBranch(nn.Module):
    """Region features of each frame -> graph attention over the regions -> r[B, T, D].

    Attributes:
        attends: whether the graph layers have attention weights.
        own_key: whether a region is among its own keys in them.
    """

    def __init__(self, config: ARPGNetConfig, adjacency_NN: Tensor, kinds_KNN: Tensor) -> None:
        super().__init__()
        relation, width, nodes = config.relation, config.width, len(adjacency_NN)
        self.readout, self.position = relation.readout, relation.position
        self.has_units = relation.abrnet is not None
        self.register_buffer("adjacency_NN", adjacency_NN, persistent=False)
        neighbors_NK = kernels.candidate_keys(adjacency_NN, int(adjacency_NN.sum(1).max()))
        self.register_buffer("neighbors_NK", neighbors_NK, persistent=False)
        self.node_scale = Standardize(config.map_channels)
        self.project = nn.Linear(config.map_channels, width)
        if relation.position in ("learned", "both"):
            self.position_table = nn.Parameter(torch.randn(nodes, width) * 0.02)
        if relation.position in ("coordinates", "both"):
            self.position_mlp = nn.Sequential(nn.Linear(2, 32), nn.ELU(), nn.Linear(32, width))
        self.norm = nn.LayerNorm(width)
        self.convs = nn.ModuleList(
            make_conv(relation, width, kinds_KNN) for _ in range(relation.layers)
        )
        self.attends = all(getattr(conv, "attends", True) for conv in self.convs)
        self.own_key = all(getattr(conv, "own_key", True) for conv in self.convs)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(relation.layers))
        self.dropout = nn.Dropout1d(relation.dropout)
        if relation.abrnet is not None:
            self.units = ABRNet(relation.abrnet, width)
            joined = relation.abrnet.units * width
        elif relation.readout == "attention":
            self.readout_score = nn.Linear(width, 1)
            joined = width
        else:
            joined = nodes * width if relation.readout == "flatten" else width
        self.out = nn.Linear(joined, width)
        self.out_norm = nn.LayerNorm(width)

    def forward(
        self,
        nodes_BTNC: Tensor | None,
        node_xy_BTN2: Tensor | None,
        visible_BTN: Tensor | None,
        *,
        attention: bool,
    ) -> dict[str, Tensor]:
        nodes_BTNC = required(nodes_BTNC, "region features")
        clips_frames = nodes_BTNC.shape[:2]
        if visible_BTN is None:
            visible_BTN = nodes_BTNC.new_ones(nodes_BTNC.shape[:3], dtype=torch.bool)
        visible_GN = visible_BTN.flatten(0, 1)
        x_GND = kernels.standardized_linear(nodes_BTNC.flatten(0, 1), self.node_scale, self.project)
        if self.position in ("learned", "both"):
            x_GND = x_GND + self.position_table
        if self.position in ("coordinates", "both"):
            xy_GN2 = required(node_xy_BTN2, "region coordinates").flatten(0, 1)
            x_GND = x_GND + self.position_mlp(xy_GN2 * 2 - 1)
        x_GND = self.norm(x_GND)
        edges = self._edges(visible_GN)
        weights = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            message_GND, alpha_GHNN = conv(x_GND, x_GND, edges, attention=attention)
            # Whole channels at a time (spatial dropout, arXiv 1411.4280): neighboring regions are
            # correlated. One draw for 49 regions also saves about 9 % of a CPU training step.
            message_GDN = self.dropout(F.elu(message_GND).transpose(1, 2))
            x_GND = norm(x_GND + message_GDN.transpose(1, 2))
            if attention and alpha_GHNN is not None:
                weights.append(alpha_GHNN)
        out: dict[str, Tensor] = {}
        readout_GN = None
        if self.has_units:
            unit_GAD, unit_GK = self.units(x_GND, visible_GN)
            pooled = unit_GAD.flatten(1)
            out["unit_logits_BTK"] = unit_GK.unflatten(0, clips_frames)
        else:
            pooled, readout_GN = self._read_out(x_GND, visible_GN)
        out["relation_BTD"] = self.out_norm(self.out(pooled)).unflatten(0, clips_frames)
        if weights:
            out["region_attention_LBTHNN"] = torch.stack(weights).unflatten(1, clips_frames)
        if attention and readout_GN is not None:
            out["readout_attention_BTN"] = readout_GN.unflatten(0, clips_frames)
        return out

    def _edges(self, visible_GN: Tensor) -> Edges:
        """A hidden region is a key for itself only, so that every row keeps one key."""
        own_NN = torch.eye(visible_GN.shape[1], dtype=torch.bool, device=visible_GN.device)
        mask_GNN = self.get_buffer("adjacency_NN") & (visible_GN[:, None] | own_NN)
        return Edges(mask_GNN, self.get_buffer("neighbors_NK"))

    def _read_out(self, x_GND: Tensor, visible_GN: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.readout == "mean":
            return masked_mean(x_GND, visible_GN), None
        if self.readout == "flatten":
            return (x_GND * visible_GN[..., None]).flatten(1), None
        score_GN = self.readout_score(x_GND).squeeze(-1).float()
        alpha_GN = score_GN.masked_fill(~visible_GN, -1e9).softmax(-1) * visible_GN
        return (alpha_GN[:, None].to(x_GND.dtype) @ x_GND).squeeze(1), alpha_GN


def check_relation_conv(conv: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError unless there is such a layer; only those of torch_geometric have arguments.

    Whether it takes these arguments, `make_conv` finds out.
    """
    if conv not in OWN_CONVS:
        # 2 s, which our own layers need not wait for
        from arpgnet.models.pyg_convs import find_class

        find_class(conv)
    elif arguments:
        raise ValueError(
            f"relation.conv_args ({', '.join(arguments)}) are for classes of torch_geometric.nn; "
            f"of relation.conv: {conv}, set relation.heads"
        )


def try_relation_conv(conv: str, arguments: Mapping[str, Any], *, width: int, heads: int) -> None:
    """Raise ValueError unless there is such a layer and a small graph passes through it."""
    check_relation_conv(conv, arguments)
    if conv not in OWN_CONVS:
        from arpgnet.models.pyg_convs import PyGConv

        triangle_NN = ~torch.eye(3, dtype=torch.bool)
        # of a layer that is thrown away: the caller's random numbers stay as they are
        with torch.random.fork_rng(devices=[]):
            PyGConv(conv, arguments, width, heads, triangle_NN.expand(len(EDGE_TYPES), -1, -1))


def make_conv(relation: RelationConfig, width: int, kinds_KNN: Tensor) -> nn.Module:
    """Return a graph layer.

    Args:
        kinds_KNN: bool [kinds, N target, N source], the edges of each kind, without self-loops.

    Raises:
        ValueError: the layer does not take its arguments, or cannot work on such a graph.
    """
    if relation.conv in OWN_CONVS:
        own = CONVS[relation.conv]
        return own(width, width, relation.heads, dropout=relation.attention_dropout)
    from arpgnet.models.pyg_convs import PyGConv

    return PyGConv(relation.conv, relation.conv_args, width, relation.heads, kinds_KNN)


def pool_nodes(map_BTChw: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of feature-map cells: one feature vector for each region, [B, T, N, C].

    Args:
        map_BTChw: float, the CNN's last feature map.
        weights: float [N, S] for regions fixed in the crop, or [B, T, N, S] for regions that follow
            the landmarks; S = h * w in row-major order. Rows that sum to 1 give means.
    """
    map_BTCS = map_BTChw.flatten(-2)
    return weights.to(map_BTCS.dtype) @ map_BTCS.transpose(-1, -2)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x[A, I, D] over the i where bool mask[A, I] is true; zeros where there is none."""
    weight_AI = mask.to(x.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    return (weight_AI[:, None] @ x).squeeze(1)


def adjacency(
    edge_index_2E: Tensor, edge_type_E: Tensor, num_nodes: int, edge_types: tuple[str, ...]
) -> Tensor:
    """Bool [N target, N source]: the chosen kinds of edge, and a self-loop on every node."""
    chosen = torch.tensor([EDGE_TYPES.index(name) for name in edge_types], dtype=torch.int64)
    selected = torch.isin(edge_type_E, chosen.to(edge_type_E.device))
    source, target = edge_index_2E[:, selected]
    adjacency_NN = torch.eye(num_nodes, dtype=torch.bool)
    adjacency_NN[target, source] = True
    return adjacency_NN
