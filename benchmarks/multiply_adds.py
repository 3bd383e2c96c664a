"""Multiply-adds of an ONNX graph, and how many a second one core can do at most."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import numpy_helper


def multiply_adds(model: onnx.ModelProto, height: int, width: int) -> int:
    """Of all convolutions and matrix products for one image of these sides."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    del sized.graph.value_info[:]
    shape = sized.graph.input[0].type.tensor_type.shape
    for dim, value in zip(shape.dim, (1, 3, height, width), strict=True):
        dim.dim_value = value
    for out in sized.graph.output:
        out.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(sized).graph
    values = [*graph.value_info, *graph.output]
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }
    weights = {item.name: numpy_helper.to_array(item).shape for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weights[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).shape
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            # each output number takes one product for every number of its filter
            total += int(np.prod(sizes[node.output[0]]) * np.prod(weights[node.input[1]][1:]))
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            total += int(np.prod(weights[node.input[1]]))
    return total


def peak(
    dtype: torch.dtype,
    side: int = 1024,
    rounds: int = 12,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Multiply-adds a second of one core in a square matrix product, the best of several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a = torch.randn(side, side).to(dtype)
    best = 0.0
    for _ in range(rounds):
        start = clock()
        _ = a @ a
        best = max(best, side**3 / (clock() - start))
    torch.set_num_threads(threads)
    return best
