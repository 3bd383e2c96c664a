"""The networks of `models` by name, with weights from ONNX files and from PyTorch checkpoints.

An exporter folds a batch norm that follows a convolution into it. Such a convolution comes back as
it is in the file, and its batch norm as one that only adds the folded shift: what the network
gives is the same.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from arpgnet.models.iresnet import CROP_PX, DEPTHS, iresnet
from arpgnet.models.mobilefacenet import FoamliuMobileFaceNet, MobileFaceNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.image_network import ImageNetwork, Precision
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import Device, load_graph
from arpgnet.pipeline.networks.torch_graph import TorchRun
from arpgnet.pipeline.networks.tuned import read_weights

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(iresnet, name) for name in DEPTHS},
    "mobilefacenet": MobileFaceNet,
    "mobilefacenet_foamliu": FoamliuMobileFaceNet,
}
# what a checkpoint of several parts calls the network's
_INNER = ("state_dict", "state_dict_backbone", "model", "backbone")
_WEIGHTED = frozenset({"Conv", "BatchNormalization", "PRelu", "Gemm", "MatMul"})


def load_backbone(arch: str, path: Path) -> nn.Module:
    """Return a network of `models` with the weights of a file, in evaluation mode.

    Args:
        arch: a name of `ARCHITECTURES`.
        path: `.onnx`, `.safetensors`, or a checkpoint of torch (`.pt`, `.pth`), of which tensors
            alone are read.

    Raises:
        UserError: no such architecture, or the file does not hold its weights.
    """
    # without memory: drawing 65 million weights that are replaced at once would take seconds
    with torch.device("meta"):
        network = _make(arch)
    if path.suffix == ".onnx":
        state = weights_of_graph(network, load_graph(path), f"{path.name} as {arch}")
    else:
        state = _read_checkpoint(path)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path.name} does not hold the weights of {arch}: {reason}") from None
    return network


def load_pack_backbone(spec: ModelSpec) -> nn.Module:
    """Return the network of a pack's checkpoint, with tuned weights where there are any.

    Raises:
        UserError: see `load_backbone`; or the tuned weights are another network's.
    """
    assert spec.arch is not None
    spec.require_unchanged()
    network = load_backbone(spec.arch, spec.path)
    state = network.state_dict()
    for name, array in read_weights(spec).items():
        if name not in state or state[name].shape != array.shape:
            raise UserError(f"the tuned weights do not fit {spec.arch} at {name}")
        state[name].copy_(torch.from_numpy(array))
    return network


def open_checkpoint(
    spec: ModelSpec, batch: int, device: Device, threads: int, precision: Precision
) -> ImageNetwork:
    """Return the network of a pack's checkpoint, ready to run: its embedding and its map.

    Batch norms are folded into the convolutions before them, as an exporter does. Single crops
    on one core, 16 at a time: IResNet-50 takes 124 ms (ONNX Runtime 129), MobileFaceNet 16 (18),
    foamliu's 6.7 (5.2).

    Raises:
        UserError: see `load_pack_backbone`.
    """
    run = TorchRun(fuse(load_pack_backbone(spec)), device=device, threads=threads)
    if precision == "bf16":
        run = run.in_bfloat16()
    return ImageNetwork(normalization(spec), run, batch)


def output_shapes(arch: str) -> tuple[int, tuple[int, int, int]]:
    """Return the width of the embedding and the map's channels, height and width.

    Raises:
        UserError: no such architecture.
    """
    with torch.device("meta"):
        embedding, feature_map = _make(arch)(torch.zeros(1, 3, CROP_PX, CROP_PX))
    channels, height, width = feature_map.shape[1:]
    return embedding.shape[1], (channels, height, width)


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


def _make(arch: str) -> nn.Module:
    if arch not in ARCHITECTURES:
        raise UserError(f"arch: {arch}: unknown network; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch]().eval()


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


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, without the prefix that data-parallel training adds."""
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            # nothing but tensors: a pickle may hold a program
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile),
        safetensors.SafetensorError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path.name} is no readable checkpoint of tensors: {reason}") from None
    for inner in _INNER:
        if isinstance(state, dict) and isinstance(state.get(inner), dict):
            state = state[inner]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path.name} holds no state dict")
    return {
        # InsightFace publishes some in half precision
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }
