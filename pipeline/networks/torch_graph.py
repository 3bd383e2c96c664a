"""An imported graph in torch: float32 for checking it against the original, bfloat16 for work.

ONNX graphs of the face embedding families as torch modules, weight by weight.

IResNet and MobileFaceNet are convolutions, batch norms, activations, sums and one matrix; whatever
holds another kind of node is refused, and stays in ONNX Runtime. Torch pays for what ONNX Runtime
cannot do on a CPU: bfloat16 products, twice the rate of float32 ones where the processor has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import fx, nn

from arpgnet.pipeline.common.gpus import use_cuda
from arpgnet.pipeline.networks.sessions import CUDA, Device, choose_provider

Attributes = dict[str, Any]
Make = Callable[["_Importer", onnx.NodeProto, Attributes], fx.Node]


# what the buffers of batch norms are called
NORM = "norm"


class NotImportable(Exception):  # noqa: N818 - an answer, not a fault
    """The graph holds something that has no exact counterpart here."""


def import_graph(model: onnx.ModelProto, outputs: Sequence[str]) -> fx.GraphModule:
    """Return a module that takes the graph's first input and gives the named tensors as a tuple.

    Its weights are buffers; `meta["initializers"]` says which of the graph's each of them is.

    Shapes: [B, 3, S, S] float32 -> one tensor per output, the first axis counting images even
    where the graph was exported for one.

    Raises:
        NotImportable: a node, an attribute or an output has no counterpart.
    """
    return _Importer(model).module(outputs)


def to_bfloat16(module: nn.Module) -> nn.Module:
    """Return weights of products in bfloat16; batch norms keep float32."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            continue
        own = (*layer.named_buffers(recurse=False), *layer.named_parameters(recurse=False))
        for name, tensor in own:
            if not name.startswith(NORM):
                tensor.data = tensor.data.to(torch.bfloat16)
    return module


class _Importer:
    """Walks the nodes in their order and writes the same calls in torch."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.constants = {
            item.name: numpy_helper.to_array(item) for item in model.graph.initializer
        }
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.calls = fx.Graph()
        self._root = nn.Module()
        self._values: dict[str, fx.Node] = {}
        self._names: dict[str, str] = {}

    def module(self, outputs: Sequence[str]) -> fx.GraphModule:
        self._values[self._graph.input[0].name] = self.calls.placeholder("images")
        self.uses.update(outputs)
        for node in self._graph.node:
            attributes = {
                item.name: onnx.helper.get_attribute_value(item) for item in node.attribute
            }
            if node.op_type == "Constant" and "value" in attributes:
                self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            if node.op_type == "Identity" and node.input[0] in self.constants:
                # exporters merge equal constants this way
                self.constants[node.output[0]] = self.constants[node.input[0]]
                continue
            make = MAKERS.get(node.op_type)
            if make is None:
                raise NotImportable(f"a node of type {node.op_type}")
            self._values[node.output[0]] = make(self, node, attributes)
        missing = [name for name in outputs if name not in self._values]
        if missing:
            raise NotImportable(f"no tensor {missing[0]}")
        self.calls.output(tuple(self._values[name] for name in outputs))
        self.calls.eliminate_dead_code()
        module = fx.GraphModule(self._root, self.calls)
        module.meta["initializers"] = self._names
        return module

    def value(self, name: str) -> fx.Node:
        """Return an activation, or a constant that takes part in arithmetic."""
        if name in self._values:
            return self._values[name]
        return self.weight(name)

    def weight(self, name: str, kind: str = "weight", shape: tuple[int, ...] | None = None) -> Any:
        """Return a float constant as a buffer of the module."""
        if name not in self.constants:
            raise NotImportable(f"{name} is not a constant")
        array = self.constants[name]
        if array.dtype.kind != "f":
            raise NotImportable(f"{name} is not a number with a fraction")
        place = f"{kind}{len(list(self._root.buffers()))}"
        self._names[place] = name
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
        self._root.register_buffer(place, tensor if shape is None else tensor.reshape(shape))
        return self.calls.get_attr(place)

    def call(self, function: Callable[..., Any], *inputs: Any, **more: Any) -> fx.Node:
        return self.calls.call_function(function, inputs, more)

    def alone(self, name: str) -> bool:
        """Check whether an activation may be overwritten: no other reader, and no input."""
        node = self._values.get(name)
        return self.uses[name] == 1 and node is not None and node.op == "call_function"


def _pads(attributes: Attributes) -> list[int]:
    pads = attributes.get("pads", [0, 0, 0, 0])
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or list(pads[:2]) != list(pads[2:]):
        raise NotImportable("padding that differs from side to side")
    return list(pads[:2])


def _conv(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    bias = of.weight(node.input[2]) if len(node.input) > 2 else None
    return of.call(
        F.conv2d,
        of.value(node.input[0]),
        of.weight(node.input[1]),
        bias,
        list(attributes.get("strides", [1, 1])),
        _pads(attributes),
        list(attributes.get("dilations", [1, 1])),
        attributes.get("group", 1),
    )


def _norm(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    scale, shift, mean, variance = (of.weight(name, NORM) for name in node.input[1:5])
    eps = attributes.get("epsilon", 1e-5)
    return of.call(
        F.batch_norm, of.value(node.input[0]), mean, variance, scale, shift, False, 0.0, eps
    )


def _prelu(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    return of.call(F.prelu, of.value(node.input[0]), of.weight(node.input[1], shape=(-1,)))


def _relu(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    return of.call(F.relu, of.value(node.input[0]), inplace=of.alone(node.input[0]))


def _leaky(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    slope = attributes.get("alpha", 0.01)
    return of.call(F.leaky_relu, of.value(node.input[0]), slope, inplace=of.alone(node.input[0]))


def _clip(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    """Return `hardtanh` in place: `clamp` into new memory took 37 % of MobileFaceNet's time."""
    bounds = [of.constants.get(name) for name in node.input[1:3]]
    low, high = bounds if len(bounds) == 2 else (attributes.get("min"), attributes.get("max"))
    if low is None or high is None:
        raise NotImportable("a clip with one bound")
    image = of.value(node.input[0])
    return of.call(F.hardtanh, image, float(low), float(high), inplace=of.alone(node.input[0]))


def _arithmetic(function: Callable[..., Any]) -> Make:
    def make(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
        return of.call(function, of.value(node.input[0]), of.value(node.input[1]))

    return make


def _elementwise(function: Callable[..., Any]) -> Make:
    def make(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
        return of.call(function, of.value(node.input[0]))

    return make


def _same(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    return of.value(node.input[0])


def _flatten(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    if attributes.get("axis", 1) != 1:
        raise NotImportable("a flatten that mixes images")
    return of.call(torch.flatten, of.value(node.input[0]), 1)


def _reshape(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    shape = of.constants.get(node.input[1], np.zeros(0)).tolist()
    # of one image, or of as many as there are
    if len(shape) != 2 or shape[0] not in (0, 1, -1) or shape[1] == 0:
        raise NotImportable(f"a reshape to {shape}")
    return of.call(torch.flatten, of.value(node.input[0]), 1)


def _gemm(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    plain = all(attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if not plain or attributes.get("transA", 0) or not attributes.get("transB", 0):
        raise NotImportable("a product with factors or of another layout")
    bias = of.weight(node.input[2]) if len(node.input) > 2 else None
    return of.call(F.linear, of.value(node.input[0]), of.weight(node.input[1]), bias)


def _matmul(of: _Importer, node: onnx.NodeProto, attributes: Attributes) -> fx.Node:
    if of.constants.get(node.input[1], np.zeros(0)).ndim != 2:
        raise NotImportable("a product with something else than a constant matrix")
    return of.call(torch.matmul, of.value(node.input[0]), of.weight(node.input[1]))


MAKERS: dict[str, Make] = {
    "Conv": _conv,
    "BatchNormalization": _norm,
    "PRelu": _prelu,
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Add": _arithmetic(torch.add),
    "Sub": _arithmetic(torch.sub),
    "Mul": _arithmetic(torch.mul),
    "Div": _arithmetic(torch.div),
    "Sigmoid": _elementwise(torch.sigmoid),
    "Identity": _same,
    "Dropout": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


Floats = npt.NDArray[np.float32]


class TorchRun:
    """Calls the module on float32 [B, 3, S, S]; each output comes back as float32 [B, ...].

    Args:
        device: means for torch what it means for ONNX Runtime, which is a part of every key.
        threads: of torch, for the whole process.

    Raises:
        UserError: a CUDA device is to be used and torch has none.
    """

    def __init__(self, module: nn.Module, *, device: Device, threads: int) -> None:
        torch.set_num_threads(threads)
        asked: Device = "cuda" if choose_provider(device) == CUDA else "cpu"
        self._device = torch.device("cuda" if use_cuda(asked, "faces.device") else "cpu")
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module = module.to(self._device)
        self._type = torch.float32

    def in_bfloat16(self) -> TorchRun:
        """Switch to bfloat16."""
        self._module, self._type = to_bfloat16(self._module), torch.bfloat16
        return self

    @torch.inference_mode()
    def __call__(self, inputs: Floats) -> list[Floats]:
        images = torch.from_numpy(inputs).to(
            self._device, self._type, memory_format=torch.channels_last
        )
        return [tensor.float().contiguous().cpu().numpy() for tensor in self._module(images)]
