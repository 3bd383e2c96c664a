"""Graphs exported for one image of one size, with dynamic shapes instead.

Published face networks often have their batch or their image's sides written into constants,
although no layer needs it. What is made here is not trusted: whoever uses it compares its answers
with the original graph's, and falls back to that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

Dims = list[int]

# a graph that was changed, or read by other software, may differ from the original by this part of
# the original's largest number
SAME = 1e-4


def any_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that takes any number of images: what reshapes to one row keeps each row's own.

    Slices that cut nothing off go too (PFLD-GhostNet has 22 of them, 13 % of its time).
    """
    dynamic, dims = _copy(model), _dims(model)
    _name_axis(dynamic.graph.input[:1], 0, "batch")
    _name_axis([value for value in dynamic.graph.output if _first(value) == 1], 0, "batch")
    for node, shape in _constants(dynamic, "Reshape", 1):
        if shape.size and shape[0] == 1 and dims.get(node.input[0], [0])[0] == 1:
            # in a Reshape, 0 stands for the input's own number
            _replace(dynamic, node, 1, np.concatenate([[0], shape[1:]]).astype(np.int64))
    _drop_idle_slices(dynamic, dims)
    return dynamic


def any_sides(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that takes images of any sides: what resizes to fixed sides doubles, or so."""
    dynamic, dims = _copy(model), _dims(model)
    for axis, name in ((2, "height"), (3, "width")):
        _name_axis(dynamic.graph.input[:1], axis, name)
    for output in dynamic.graph.output:
        for axis in range(1, len(output.type.tensor_type.shape.dim)):
            _name_axis([output], axis, f"{output.name}_{axis}")
    for node, sides in _constants(dynamic, "Resize", 3):
        before = dims.get(node.input[0], [])
        if len(before) == len(sides) and all(before):
            scales = (sides / np.array(before)).astype(np.float32)
            del node.input[3]
            _replace(dynamic, node, 2, scales)
    return dynamic


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]  # the shapes of one image
    return copy


def _dims(model: onnx.ModelProto) -> dict[str, Dims]:
    """Return the dimensions of every tensor, 0 for one that is not fixed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def _first(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[0].dim_value if dims else 0


def _name_axis(values: list[onnx.ValueInfoProto], axis: int, name: str) -> None:
    for value in values:
        value.type.tensor_type.shape.dim[axis].dim_param = name


def _constants(
    model: onnx.ModelProto, kind: str, place: int
) -> Iterator[tuple[onnx.NodeProto, np.ndarray]]:
    """Yield nodes of a kind whose input at `place` is a constant, and that constant."""
    known = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type == kind and len(node.input) > place and node.input[place] in known:
            yield node, numpy_helper.to_array(known[node.input[place]])


def _replace(model: onnx.ModelProto, node: onnx.NodeProto, place: int, value: np.ndarray) -> None:
    name = f"{node.output[0]}_dynamic"
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[place] = name


def _drop_idle_slices(model: onnx.ModelProto, dims: dict[str, Dims]) -> None:
    """Drop slices that cut nothing off, in the form of opset 9, which cannot run backwards."""
    outputs = {output.name for output in model.graph.output}
    same: dict[str, str] = {}
    remaining = []
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        shape = dims.get(node.output[0], [0])
        idle = node.op_type == "Slice" and len(node.input) == 1 and all(shape)
        if idle and dims.get(node.input[0]) == shape and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        else:
            remaining.append(node)
    del model.graph.node[:]
    model.graph.node.extend(remaining)
