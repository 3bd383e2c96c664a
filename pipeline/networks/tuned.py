"""A pack's embedding network with the weights that fine-tuning gave it.

`<folder>/backbone.json` says whether there are any; `backbone.safetensors` holds them by the names
of the graph's initializers, or of the checkpoint's tensors. The network stays the pack's: where
its map is, where its cells look and how it is fed do not change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import OnnxGraph
from arpgnet.pipeline.store import file_sha256

METADATA = "backbone.json"
WEIGHTS = "backbone.safetensors"


def tuned(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Return the network with the folder's weights; the pack's own without fine-tuning.

    Raises:
        UserError: the folder is absent or damaged, or its weights are another network's.
    """
    metadata = read_metadata(folder)
    if not metadata["enabled"]:
        return spec
    if metadata["model_sha256"] != spec.sha256:
        raise UserError(f"{folder} was tuned from another network: run `dvc repro finetune`")
    path = folder / WEIGHTS
    if not path.is_file() or file_sha256(path) != metadata["weights_sha256"]:
        raise UserError(f"{path} is absent or damaged: run `dvc repro --force finetune`")
    # absolute: it is opened by worker processes too
    return replace(spec, weights=path.resolve(), weights_sha256=metadata["weights_sha256"])


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return what the finetune stage says of itself.

    Raises:
        UserError: it has not run.
    """
    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder / METADATA} cannot be read: run `dvc repro finetune`") from None
    return metadata


def tuned_graph(spec: ModelSpec, graph: OnnxGraph) -> OnnxGraph:
    """Return the pack's graph with the tuned weights, where there are any.

    Raises:
        UserError: the weights cannot be read, or do not fit the graph.
    """
    weights = read_weights(spec)
    if not weights:
        return graph
    return OnnxGraph.of(with_weights(graph.model, weights), graph.name)


def read_weights(spec: ModelSpec) -> dict[str, np.ndarray]:
    """Return the weights that stand in the place of the pack's; none of a network as it came.

    Raises:
        UserError: the weights cannot be read.
    """
    try:
        return load_file(spec.weights) if spec.weights else {}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{spec.weights} cannot be read ({error}): run `dvc repro finetune`"
        ) from None


def with_weights(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return the graph, its initializers made `unshared`, with some of them replaced.

    Raises:
        UserError: it has no such initializer, or one of another length.
    """
    model = unshared(model)
    places = {item.name: item for item in model.graph.initializer}
    for name, array in weights.items():
        place = places.get(name)
        if place is None or int(np.prod(place.dims)) != array.size:
            raise UserError(f"the tuned weights do not fit the graph at {name}")
        place.CopyFrom(numpy_helper.from_array(array.reshape(list(place.dims)), name))
    return model


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which each use of an initializer has one of its own.

    Exporters merge constants that happen to be equal, e.g. all PReLU slopes of a fresh network,
    and put an Identity in the place of the others; training would have to move them as one.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    places = {item.name: item for item in copy.graph.initializer}
    aliases = {
        node.output[0]: node.input[0]
        for node in copy.graph.node
        if node.op_type == "Identity" and node.input[0] in places
    }
    nodes = [node for node in copy.graph.node if node.output[0] not in aliases]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    used: dict[str, int] = {}
    for node in copy.graph.node:
        for position, tensor in enumerate(node.input):
            name = aliases.get(tensor, tensor)
            if name not in places:
                continue
            node.input[position] = name
            used[name] = used.get(name, 0) + 1
            if used[name] > 1:
                own = copy.graph.initializer.add()
                own.CopyFrom(places[name])
                own.name = node.input[position] = f"{name}#{used[name]}"
    return copy
