"""Build the network from the settings and the data's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from arpgnet.models.abrnet import ABRNetConfig
from arpgnet.models.arpgnet import EDGE_TYPES, ARPGNet, ARPGNetConfig, RelationConfig
from arpgnet.models.fusion import FusionConfig
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params, RelationParams
from arpgnet.pipeline.training.features import Batch

# the networks can drop attention weights too; it is no setting, and off
ATTENTION_DROPOUT = 0.0


def run_network(network: Any, batch: Batch, *, attention: bool = False) -> dict[str, Tensor]:
    """Run the network on a batch; with its attention weights where requested."""
    outputs: dict[str, Tensor] = network(
        embedding_BTE=batch.embedding,
        map_BTC=batch.map_vector,
        nodes_BTNC=batch.nodes,
        node_xy_BTN2=batch.node_xy,
        visible_BTN=batch.visible,
        valid_BT=batch.valid,
        # of one view there are none
        parts_embedding_BTE=batch.parts_embedding,
        parts_map_BTC=batch.parts_map,
        parts_cells_BTSC=batch.parts_cells,
        attention=attention,
    )
    return outputs


def network_config(
    params: Params, metadata: Mapping[str, Any], num_classes: int, frames: int, also: int = 0
) -> ARPGNetConfig:
    """Return settings of ARPGNet.

    Args:
        params: `relation`, `fusion`, `views` and of `appearance` the views and the vector are read.
        metadata: `embedding_dim` and `map_shape` of the appearance stage.
        frames: T of the longest view, for learned time positions.
        num_classes: K.
        also: outputs of further tasks.

    Raises:
        UserError: the settings do not fit together.
    """
    relation, fusion = params.relation, params.fusion
    try:
        return ARPGNetConfig(
            num_classes=num_classes,
            embedding_dim=metadata["embedding_dim"],
            map_channels=metadata["map_shape"][0],
            width=fusion.width,
            appearance_vector=params.appearance.vector,
            dropout=fusion.head_dropout,
            relation=RelationConfig(
                conv=relation.conv,
                conv_args=relation.conv_args,
                layers=relation.layers,
                heads=relation.heads,
                readout=relation.readout,
                position=relation.position,
                edge_types=tuple(relation.edges),
                dropout=relation.dropout,
                attention_dropout=ATTENTION_DROPOUT,
                abrnet=_abrnet(relation, num_classes),
            ),
            fusion=FusionConfig(
                mode=fusion.mode,
                layers=fusion.layers,
                heads=fusion.heads,
                # null in params.yaml is the whole clip, -1 for the network
                window=-1 if fusion.window is None else fusion.window,
                window_cross=-1 if fusion.window_cross is None else fusion.window_cross,
                position=fusion.position,
                max_frames=frames,
                conv=fusion.conv,
                feed_forward=fusion.feed_forward,
                share_weights=fusion.share_weights,
                dropout=fusion.dropout,
                attention_dropout=ATTENTION_DROPOUT,
            ),
            views=params.view_fusion,
            also=also,
        )
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from None


def _abrnet(relation: RelationParams, units: int) -> ABRNetConfig | None:
    if relation.head != "abrnet":
        return None
    return ABRNetConfig(units=units, heads=relation.heads, **relation.abrnet.model_dump())


def config_from_dict(values: Mapping[str, Any]) -> ARPGNetConfig:
    """Return the inverse of `config_to_dict` after a trip through JSON; a run of before
    `relation.conv_args` has none."""
    relation = {"conv_args": {}, **values["relation"]}
    relation["edge_types"] = tuple(relation["edge_types"])
    # a network from before there was this head has no such setting
    abrnet = relation.get("abrnet")
    relation["abrnet"] = ABRNetConfig(**abrnet) if abrnet else None
    parts = {"relation": RelationConfig(**relation), "fusion": FusionConfig(**values["fusion"])}
    return ARPGNetConfig(**{"views": None, "also": 0, **values, **parts})


def config_to_dict(config: ARPGNetConfig) -> dict[str, Any]:
    """Return the settings as a run's file has them: a network of one view says nothing of views,
    and one of a single task nothing of further ones, as those did that were trained before there
    were such."""
    optional = ("views", "also")
    values = asdict(config)
    return {key: value for key, value in values.items() if key not in optional or value}


def build_network(config: ARPGNetConfig, metadata: Mapping[str, Any]) -> ARPGNet:
    """Return a freshly initialized network on the region graph.

    Args:
        metadata: `edges` [[source, target], ...], `edge_types` (a name an edge) and `names`
            (a name a region) of the graph stage.

    Raises:
        UserError: `relation.conv` cannot work on this graph.
    """
    edges = torch.tensor(metadata["edges"], dtype=torch.int64).reshape(-1, 2)
    kinds = [EDGE_TYPES.index(name) for name in metadata["edge_types"]]
    try:
        return ARPGNet(
            config,
            edge_index_2E=edges.T.contiguous(),
            edge_type_E=torch.tensor(kinds, dtype=torch.int64),
            num_nodes=len(metadata["names"]),
        )
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from error


def logits_of(module: Any, batch: Batch) -> Tensor:
    """Return logits [B, K] of clips, or [B, T, K] where the batch's labels are of frames."""
    return all_logits(module, batch)[0]


def all_logits(module: Any, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return logits as `logits_of`, and those of the further tasks together, [..., J], if any."""
    outputs = run_network(module, batch)
    if batch.per_frame:
        return outputs["frame_logits_BTK"], outputs.get("also_frame_logits_BTJ")
    return outputs["logits_BK"], outputs.get("also_logits_BJ")
