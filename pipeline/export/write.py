"""`arpgnet export`: write a trained network as one ONNX file that describes its inputs."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.export.describe import metadata
from arpgnet.pipeline.export.parity import check_parity, longest, random_inputs
from arpgnet.pipeline.export.traceable import OUTPUTS, TraceableNet
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.training.checkpoints import find_run, load_run

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
        UserError: there is no such run, the data is not the run's, or the graph differs by more
            than `parity.TOLERANCE`; `out` is unchanged.
    """
    name = find_run(run, root)
    network, info = load_run(root / RUNS / name)
    graph = to_onnx(network, metadata(network, info, params, name, root))
    difference = check_parity(network, graph)
    write_whole(out, graph)
    return Exported(name, difference)


def to_onnx(network: ARPGNet, properties: Mapping[str, Any]) -> bytes:
    """Export the graph for any number of clips and frames, `properties` as JSON in its metadata.

    Inputs are those of `traceable.input_names`, outputs `traceable.OUTPUTS`. Equal arguments give
    equal bytes.
    """
    most = longest(network)
    example = random_inputs(network, 2, min(5, most or 5), torch.Generator().manual_seed(0))
    axes = {0: "clips", 1: "frames"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # the older exporter: the newer one needs onnxscript and fixes lengths it can see
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            TraceableNet(network),
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=list(OUTPUTS),
            dynamic_axes=dict.fromkeys((*example, "frame_logits"), axes)
            | {name: {0: "clips"} for name in ("probabilities", "logits")},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    for key in sorted(properties):
        text = json.dumps(properties[key], sort_keys=True, ensure_ascii=False)
        model.metadata_props.add(key=key, value=text)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
