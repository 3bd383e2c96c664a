"""The ablations: what each one changes in `params.yaml`, and which part that removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import UNIT_KINDS, Params
from arpgnet.pipeline.common.params_file import parse_params


@dataclass(frozen=True)
class Row:
    """One changed network.

    `settings` maps dotted keys of `params.yaml` to values; `what` is shown in the table; `removes`
    names the part that the row removes, if it does not replace it.
    """

    name: str
    group: str
    settings: Mapping[str, Any]
    what: str
    removes: str | None = None

    @property
    def experiment(self) -> str:
        """The name of its DVC experiment."""
        return f"ablation-{self.name}"


APPEARANCE, GRAPH, ATTENTION = "appearance vector", "region graph", "graph attention"
POSITION, MODE, FUSION = "region position", "branches and fusion", "fusion"
UNITS = "relations between units (ABRNet)"
VIEWS = "views of a face"
FACE, BOTH = {"appearance.views": ["face"]}, {"appearance.views": ["face", "parts"]}

ROWS = (
    Row("vector-embedding", APPEARANCE, {"appearance.vector": "embedding"},
        "the face embedding instead of the mean feature map"),
    Row("vector-both", APPEARANCE, {"appearance.vector": "both"}, "embedding and mean feature map"),
    Row("views-face", VIEWS, FACE, "the face alone", "the view of the face's parts"),
    Row("views-mean", VIEWS, {**BOTH, "views.fusion": "mean"}, "face and parts, mean of vectors"),
    Row("views-concat", VIEWS, {**BOTH, "views.fusion": "concat"},
        "face and parts, concatenated vectors"),
    Row("views-attention", VIEWS, {**BOTH, "views.fusion": "attention"},
        "face and parts, attention of each map to the other"),
    Row("graph-none", GRAPH, {"relation.layers": 0}, "no graph: direct readout of the regions",
        "the graph over regions"),
    Row("edges-none", GRAPH, {"relation.edges": []}, "no edges: a region attends to itself only",
        "edges between regions"),
    Row("edges-adjacent", GRAPH, {"relation.edges": ["adjacent"]}, "adjacent regions only",
        "left-right symmetry edges"),
    Row("edges-symmetric", GRAPH, {"relation.edges": ["symmetric"]}, "symmetric regions only",
        "edges between adjacent regions"),
    Row("neighborhood-8", GRAPH, {"graph.neighborhood": 8}, "diagonal cells are adjacent too"),
    Row("grid-3", GRAPH, {"graph.grid": 3}, "3 x 3 regions"),
    Row("grid-5", GRAPH, {"graph.grid": 5}, "5 x 5 regions"),
    Row("regions-landmark", GRAPH, {"graph.regions": "landmark"},
        "anatomical regions that follow the landmarks"),
    Row("relation-gatv2", ATTENTION, {"relation.conv": "gatv2"}, "GATv2"),
    Row("relation-transformer", ATTENTION, {"relation.conv": "TransformerConv"},
        "dot-product attention (TransformerConv)"),
    Row("relation-gin", ATTENTION, {"relation.conv": "GINConv"}, "GIN: sums of neighbors",
        "attention between regions"),
    Row("relation-gcn", ATTENTION, {"relation.conv": "GCNConv"}, "GCN: fixed weights",
        "attention between regions"),
    Row("relation-heads-1", ATTENTION, {"relation.heads": 1}, "1 head"),
    Row("relation-heads-8", ATTENTION, {"relation.heads": 8}, "8 heads"),
    Row("relation-layers-1", ATTENTION, {"relation.layers": 1}, "1 layer"),
    Row("relation-layers-3", ATTENTION, {"relation.layers": 3}, "3 layers"),
    Row("readout-mean", ATTENTION, {"relation.readout": "mean"}, "mean over regions",
        "region positions in the readout"),
    Row("readout-attention", ATTENTION, {"relation.readout": "attention"},
        "attention over regions"),
    Row("position-none", POSITION, {"relation.position": "none"}, "no position embedding",
        "the position embedding of regions"),
    Row("position-coordinates", POSITION, {"relation.position": "coordinates"},
        "embedding of the region's coordinates"),
    Row("mode-appearance", MODE, {"fusion.mode": "appearance"}, "the appearance branch alone",
        "the relation branch"),
    Row("mode-relation", MODE, {"fusion.mode": "relation"}, "the relation branch alone",
        "the appearance branch"),
    Row("mode-concat", MODE, {"fusion.mode": "concat"}, "concatenated, no attention over time",
        "the attention fusion"),
    Row("mode-add", MODE, {"fusion.mode": "add"}, "added, no attention over time"),
    Row("mode-cross", MODE, {"fusion.mode": "cross"}, "attention to the other sequence only",
        "attention within a sequence"),
    Row("mode-serial", MODE, {"fusion.mode": "serial"},
        "own and other sequence in turn instead of in parallel"),
    Row("window-0", FUSION, {"fusion.window": 0, "fusion.window_cross": 0}, "no other frames",
        "neighboring frames"),
    Row("window-cross-0", FUSION, {"fusion.window_cross": 0},
        "only the same frame of the other sequence"),
    Row("window-all", FUSION, {"fusion.window": None, "fusion.window_cross": None},
        "the whole clip instead of a window", "the local window"),
    Row("time-none", FUSION, {"fusion.position": "none"}, "no temporal position encoding",
        "the temporal position encoding"),
    Row("time-learned", FUSION, {"fusion.position": "learned"}, "learned temporal positions"),
    Row("fusion-gatv2", FUSION, {"fusion.conv": "gatv2"}, "GATv2"),
    Row("fusion-dot", FUSION, {"fusion.conv": "dot"}, "scaled dot product"),
    Row("fusion-heads-1", FUSION, {"fusion.heads": 1}, "1 head"),
    Row("fusion-heads-8", FUSION, {"fusion.heads": 8}, "8 heads"),
    Row("fusion-layers-1", FUSION, {"fusion.layers": 1}, "1 layer"),
    Row("fusion-layers-3", FUSION, {"fusion.layers": 3}, "3 layers"),
)  # fmt: skip


# of tasks on action units; the parts can be changed where the head is there
WITHOUT_HEAD = (
    Row("abrnet", UNITS, {"relation.head": "abrnet"}, "a head of action units on the regions"),
)
WITH_HEAD = (
    Row(
        "abrnet-none",
        UNITS,
        {"relation.head": "none"},
        "no head of action units on the regions",
        "ABRNet",
    ),
    Row(
        "abrnet-layers-0",
        UNITS,
        {"relation.abrnet.layers": 0},
        "no relation layers",
        "relation layers",
    ),
    Row("abrnet-layers-1", UNITS, {"relation.abrnet.layers": 1}, "1 relation layer"),
    Row(
        "abrnet-attention",
        UNITS,
        {"relation.abrnet.relations": "attention"},
        "relations from attention, not a learned matrix",
    ),
    Row(
        "abrnet-fuse-none",
        UNITS,
        {"relation.abrnet.fuse": False},
        "the mean of a unit's versions",
        "self-attention fusion",
    ),
    Row(
        "abrnet-dropout-0",
        UNITS,
        {"relation.abrnet.dropout": 0.0},
        "no relation is cut",
        "AU relation dropout",
    ),
    Row(
        "abrnet-pool-mean",
        UNITS,
        {"relation.abrnet.pool": "mean"},
        "a unit's feature from the mean of the regions",
        "attention of a unit to regions",
    ),
)
RELATION_LOSS = (
    Row("relation-loss-1", UNITS, {"task.relation_loss": 1.0}, "with the AU relation loss"),
    Row("relation-loss-10", UNITS, {"task.relation_loss": 10.0}, "the same, ten times the weight"),
    Row("relation-loss-0", UNITS, {"task.relation_loss": 0.0}, "no AU relation loss",
        "AU relation loss"),
)  # fmt: skip
# what precedes the features, where it is on; each row runs the appearance stage once more
BACKBONE = "appearance network"
WITH_PRETRAINING = (
    Row("pretrain-none", BACKBONE, {"pretrain.enabled": False},
        "the pack's network instead of the vision transformer", "the vision transformer"),
    Row("pretrain-steps-100", BACKBONE, {"pretrain.steps": 100}, "100 steps of pre-training",
        "pre-training"),
)  # fmt: skip
WITH_TUNING = (
    Row("finetune-none", BACKBONE, {"finetune.enabled": False}, "no fine-tuning on stills",
        "fine-tuning"),
)  # fmt: skip


def rows_of(params: Params) -> list[Row]:
    """Return the ablations of a task in the table's order."""
    found = list(ROWS)
    found += WITH_PRETRAINING if params.pretrain.enabled else ()
    found += WITH_TUNING if params.finetune.enabled else ()
    if params.task.kind in UNIT_KINDS:
        found += WITH_HEAD if params.relation.head == "abrnet" else WITHOUT_HEAD
    if params.task.kind == "action_units":
        found += [row for row in RELATION_LOSS if changed(params, row) != params]
    return found


def choose(names: Sequence[str] | None, params: Params) -> list[Row]:
    """Select the rows of these names in the table's order, or all of the task.

    Raises:
        UserError: a name is unknown, or of another task.
    """
    rows = rows_of(params)
    known = {row.name for row in rows}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UserError(f"unknown ablation {', '.join(unknown)}: see `arpgnet ablate --list`")
    return [row for row in rows if names is None or row.name in names]


def changed(params: Params, row: Row) -> Params:
    """Apply the row's settings.

    Raises:
        UserError: the row does not fit the other settings.
    """
    raw = params.model_dump()
    for dotted, value in row.settings.items():
        set_dotted(raw, dotted, value)
    return parse_params(raw, source=row.name)


def set_dotted(node: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a nested key."""
    *parents, key = dotted.split(".")
    for parent in parents:
        node = node[parent]
    node[key] = value
