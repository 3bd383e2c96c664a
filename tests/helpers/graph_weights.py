"""The networks of `models` with the weights of ONNX files, to compare the two.

An exporter folds a batch norm that follows a convolution into it. Such a convolution comes back as
it is in the file, and its batch norm as one that only adds the folded shift: what the network
gives is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from arpgnet.models.iresnet import CROP_PX
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.backbones import ARCHITECTURES
from arpgnet.pipeline.networks.sessions import load_graph

_WEIGHTED = frozenset({"Conv", "BatchNormalization", "PRelu", "Gemm", "MatMul"})


def load_exported(arch: str, path: Path) -> nn.Module:
    """Return a network of `models` with the weights of an ONNX file, in evaluation mode.

    Raises:
        UserError: the file does not hold its weights.
    """
    with torch.device("meta"):
        network = ARCHITECTURES[arch]().eval()
    state = weights_of_graph(network, load_graph(path), f"{path.name} as {arch}")
    network.load_state_dict(state, assign=True)
    return network


def weights_of_graph(network: nn.Module, model: onnx.ModelProto, what: str) -> dict[str, Tensor]:
    """Return the state dict that makes a network give what an exported graph of its topology gives.

    The graph's nodes and the network's layers are walked side by side, in the order in which they
    are run.

    Args:
        what: names the two in errors.

    Raises:
        UserError: they differ in kind, number or shape.
    """
    walk = _Walk(model, what)
    layers = _in_order(network)
    for place, (name, layer) in enumerate(layers):
        following = layers[place + 1][1] if place + 1 < len(layers) else None
        walk.layer(name, layer, following)
    walk.end()
    return walk.state


class _Walk:
    """Goes through a graph's weights once, from its input to its output."""

    def __init__(self, model: onnx.ModelProto, what: str) -> None:
        self._what = what
        self._weights = {item.name: item for item in model.graph.initializer}
        self._aliases = {
            node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"
        }
        self._nodes = [node for node in model.graph.node if node.op_type in _WEIGHTED]
        self._next = 0
        self._shift: Tensor | None = None  # of a folded batch norm whose layer comes next
        self.state: dict[str, Tensor] = {}

    def layer(self, name: str, layer: nn.Module, following: nn.Module | None) -> None:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            self._norm(name, layer)
        elif isinstance(layer, nn.PReLU):
            (slope,) = self._take(name, ("PRelu",), 1)
            self._put(f"{name}.weight", slope.reshape(-1), layer.weight)
        else:
            self._product(name, layer, following)

    def end(self) -> None:
        if self._next < len(self._nodes):
            node = self._nodes[self._next]
            raise UserError(f"{self._what}: the graph goes on with {node.op_type} {node.name}")

    def _product(self, name: str, layer: nn.Module, following: nn.Module | None) -> None:
        kinds = ("Conv",) if isinstance(layer, nn.Conv2d) else ("Gemm", "MatMul")
        node = self._peek(name, kinds)
        tensors = self._take(name, kinds, 1)
        weight, own = layer.get_parameter("weight"), _bias(layer)
        value = tensors[0]
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not _attribute(node, "transB")):
            value = value.T
        if weight.ndim == 2:
            value = value.reshape(len(value), -1)
        self._put(f"{name}.weight", value, weight)
        bias = tensors[1] if len(tensors) > 1 else torch.zeros(len(value))
        folded = isinstance(following, nn.modules.batchnorm._BatchNorm) and not self._normed(node)
        if own is not None:
            self._put(f"{name}.bias", bias, own)
        elif not folded and len(tensors) > 1:
            raise UserError(f"{self._what}: {name} has no bias, the graph's {node.name} has")
        self._shift = None
        if folded:
            self._shift = torch.zeros_like(bias) if own is not None else bias

    def _norm(self, name: str, layer: nn.modules.batchnorm._BatchNorm) -> None:
        if self._shift is None:
            node = self._peek(name, ("BatchNormalization",))
            scale, shift, mean, variance = self._take(name, ("BatchNormalization",), 4)
            # the layer's own addition to the variance stands in the place of the node's
            variance = variance + (_attribute(node, "epsilon", 1e-5) - layer.eps)
        else:
            shift, self._shift = self._shift, None
            mean = torch.zeros_like(shift)
            variance = torch.ones_like(shift)
            scale = torch.full_like(shift, math.sqrt(1.0 + layer.eps))
        for key, value in (
            ("weight", scale),
            ("bias", shift),
            ("running_mean", mean),
            ("running_var", variance),
        ):
            self._put(f"{name}.{key}", value, layer.state_dict()[key])
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    def _normed(self, node: onnx.NodeProto) -> bool:
        """Check whether the graph has a batch norm of its own behind a product."""
        return any(
            other.op_type == "BatchNormalization" and other.input[0] == node.output[0]
            for other in self._nodes
        )

    def _peek(self, name: str, kinds: tuple[str, ...]) -> onnx.NodeProto:
        if self._next == len(self._nodes):
            raise UserError(f"{self._what}: the graph ends before {name}")
        node = self._nodes[self._next]
        if node.op_type not in kinds:
            raise UserError(f"{self._what}: {name} meets a {node.op_type} ({node.name})")
        return node

    def _take(self, name: str, kinds: tuple[str, ...], fewest: int) -> list[Tensor]:
        """Return the next node's constants."""
        node = self._peek(name, kinds)
        self._next += 1
        places = [self._aliases.get(place, place) for place in node.input[1:]]
        if len(places) < fewest or any(place not in self._weights for place in places):
            raise UserError(f"{self._what}: the weights of {node.name} are no constants")
        arrays = (numpy_helper.to_array(self._weights[place]) for place in places)
        return [torch.from_numpy(np.array(array, dtype=np.float32)) for array in arrays]

    def _put(self, key: str, value: Tensor, like: Tensor) -> None:
        if value.shape != like.shape:
            raise UserError(
                f"{self._what}: {key} has the shape {list(like.shape)}, the graph's weights "
                f"{list(value.shape)}"
            )
        self.state[key] = value


def _in_order(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Yield the layers with weights in the order in which they are run."""
    found: list[tuple[str, nn.Module]] = []

    def note(name: str, layer: nn.Module) -> Iterator[torch.utils.hooks.RemovableHandle]:
        if list(layer.parameters(recurse=False)):
            yield layer.register_forward_pre_hook(lambda *_: found.append((name, layer)))

    handles = [hook for name, layer in network.named_modules() for hook in note(name, layer)]
    with torch.inference_mode():
        device = next(network.parameters()).device
        network(torch.zeros(1, 3, CROP_PX, CROP_PX, device=device))
    for handle in handles:
        handle.remove()
    return found


def _bias(layer: nn.Module) -> Tensor | None:
    bias = getattr(layer, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def _attribute(node: onnx.NodeProto, name: str, default: float = 0) -> float:
    for item in node.attribute:
        if item.name == name:
            return float(onnx.helper.get_attribute_value(item))
    return default
