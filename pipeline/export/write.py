"""`arpgnet export`: write a trained network as one ONNX file that describes its inputs."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from arpgnet.models.arpgnet import OWN_CONVS, ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.export.describe import metadata
from arpgnet.pipeline.export.parity import check_parity, longest, random_inputs
from arpgnet.pipeline.export.traceable import ARGUMENTS, LOGITS, TraceableNet, outputs_of
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.predictions import EXPRESSION
from arpgnet.pipeline.training.checkpoints import find_run, load_run
from arpgnet.pipeline.training.kinds import trained_further, trained_task
from arpgnet.pipeline.training.kinds.base import Kind

OPSET = 17  # the first with LayerNormalization as one operator


@dataclass(frozen=True)
class Exported:
    """What was written: the run's name, and the largest difference to the network."""

    run: str
    difference: float


def export(params: Params, out: Path, *, run: str | None = None, root: Path = Path()) -> Exported:
    """Write a run's network to `out`, after comparing the graph with the network.

    Args:
        params: of the stages before training, for the metadata.
        run: such as `fold0-seed0`; default: the one with the best validation score.

    Raises:
        UserError: there is no such run, the data is not the run's, its convolution has no form in
            ONNX, or the graph differs by more than `parity.TOLERANCE`; `out` is unchanged.
    """
    name = find_run(run, root)
    network, info = load_run(root / RUNS / name)
    kind = trained_task(info.get("kind", EXPRESSION), info["classes"])
    properties = metadata(network, info, params, name, root)
    graph, difference = checked_graph(network, kind, properties, trained_further(info))
    write_whole(out, graph)
    return Exported(name, difference)


def checked_graph(
    network: ARPGNet, kind: Kind, properties: Mapping[str, Any], further: Sequence[Kind] = ()
) -> tuple[bytes, float]:
    """Return what `to_onnx` does, and the largest difference to the network.

    Raises:
        UserError: a convolution of torch_geometric cannot be exported, or the two differ.
    """
    try:
        graph = to_onnx(network, kind, properties, further)
        return graph, check_parity(network, kind, graph, further)
    except UserError:
        raise
    except Exception as error:  # the exporter's, the convolution's or ONNX Runtime's own
        conv = network.config.relation.conv
        if conv in OWN_CONVS:
            raise
        reason = " ".join(str(error).split())[:150]
        raise UserError(
            f"relation.conv: {conv} with these settings cannot be exported to ONNX ({reason}); "
            "`arpgnet predict` works without"
        ) from error


def to_onnx(
    network: ARPGNet, kind: Kind, properties: Mapping[str, Any], further: Sequence[Kind] = ()
) -> bytes:
    """Export the graph for any number of clips and frames, `properties` as JSON in its metadata.

    Inputs are those of `traceable.input_names`, outputs those of `traceable.outputs_of`. Equal
    arguments give equal bytes.

    Args:
        further: tasks of the network's further head.
    """
    most = longest(network)
    example = random_inputs(network, 2, min(5, most or 5), torch.Generator().manual_seed(0))
    axes = {0: "clips", 1: "frames"}
    arguments = {ARGUMENTS[name]: value for name, value in example.items()}
    with torch.no_grad():
        outputs = [name for name, _ in outputs_of(network(**arguments), kind, further)]
    # the tokens of two views, of which the network does not fix the number
    open_axes = {"parts_cells": {**axes, 2: "cells"}} if "parts_cells" in example else {}
    if "nodes" in example and "relation" not in network.config.fusion.streams:
        open_axes["nodes"] = {**axes, 2: "regions"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # the older exporter: the newer one needs onnxscript and fixes lengths it can see. What it
        # warns of, in torch_geometric's code, is settled by `check_parity`
        warnings.simplefilter("ignore")
        torch.onnx.export(
            TraceableNet(network, kind, further),
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=outputs,
            dynamic_axes=dict.fromkeys(example, axes)
            | {name: axes if name.endswith(LOGITS[1]) else {0: "clips"} for name in outputs}
            | open_axes,
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    for key in sorted(properties):
        text = json.dumps(properties[key], sort_keys=True, ensure_ascii=False)
        model.metadata_props.add(key=key, value=text)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
