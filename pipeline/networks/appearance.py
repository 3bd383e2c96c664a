"""The appearance network: embedding and last feature map of aligned faces, and where on the
input its cells look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.geometry.alignment import CROP_PX
from arpgnet.pipeline.networks.image_network import GraphNetwork, ImageNetwork, Precision
from arpgnet.pipeline.networks.pack_file import VIT
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import Device, OnnxGraph, find_map_tensor, open_graph

WINDOWED = ("Conv", "MaxPool", "AveragePool")
POINTWISE = (
    *("Add", "Sub", "Mul", "Div", "BatchNormalization", "PRelu", "Relu", "LeakyRelu", "Clip"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Identity", "Dropout", "Concat", "Cast"),
)


@dataclass(frozen=True)
class Centers:
    """Cell i looks at pixel `first + i * step`; whole numbers are pixel centers."""

    first: float
    step: float

    def on_crop(self, input_px: int) -> Centers:
        """Return them in pixels of the crop of 112 that positions are counted in."""
        if input_px == CROP_PX:
            return self
        scale = CROP_PX / input_px
        return Centers((self.first + 0.5) * scale - 0.5, self.step * scale)


def map_centers(model: onnx.ModelProto, tensor: str, cells: int, input_px: int) -> Centers:
    """Return receptive field centers of a tensor [N, C, h, w] with `cells` rows and columns.

    Where the graph holds something else than convolutions, pooling and pointwise operations on
    the way, the cells are taken to divide the image evenly.
    """
    known = {model.graph.input[0].name: Centers(0.0, 1.0)}
    for node in model.graph.node:
        before = next((known[name] for name in node.input if name in known), None)
        if before is None:
            continue
        if node.op_type in POINTWISE:
            known[node.output[0]] = before
        elif node.op_type in WINDOWED:
            after = _through_window(node, before)
            if after is not None:
                known[node.output[0]] = after
    step = input_px / cells
    return known.get(tensor, Centers((step - 1) / 2, step))


def _through_window(node: onnx.NodeProto, before: Centers) -> Centers | None:
    """Move centers through a sliding window; None where the axes differ or padding is implied."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    kernel = attributes.get("kernel_shape", [])
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    begins = attributes.get("pads", [0, 0, 0, 0])[:2]
    square = all(len(set(values)) == 1 for values in (kernel, strides, dilations, begins))
    if not square or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    shift = dilations[0] * (kernel[0] - 1) / 2 - begins[0]
    return Centers(before.first + shift * before.step, before.step * strides[0])


MapShape = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """What comes out of an embedding network; `centers` in pixels of a crop of 112."""

    map_tensor: str
    map_shape: MapShape
    embedding_dim: int
    centers: Centers


_LAYOUTS: dict[ModelSpec, Layout] = {}


def layout(spec: ModelSpec, graph: OnnxGraph | None = None) -> Layout:
    """Return the pack's word for it, or what the network says where the pack is silent.

    Args:
        graph: of the network, if it is open.

    Raises:
        UserError: neither says, or the network takes crops of another size than the pack says.
    """
    if spec not in _LAYOUTS:
        _LAYOUTS[spec] = (
            _graph_layout((graph or open_graph(spec)).model, spec)
            if spec.arch is None
            else _checkpoint_layout(spec, spec.arch)
        )
    return _LAYOUTS[spec]


def _checkpoint_layout(spec: ModelSpec, arch: str) -> Layout:
    # imported here: torch takes 2 s, and a graph needs none
    from arpgnet.pipeline.networks.backbones import output_shapes

    width, shape = output_shapes(arch, spec.input_px)
    step = spec.input_px / shape[2]
    # patches lie side by side; each halving of a CNN keeps the first pixel's center
    middle = Centers((step - 1) / 2 if arch.startswith(VIT) else 0.0, step)
    return Layout(
        "feature_map",
        spec.map_shape or shape,
        spec.embedding_dim or width,
        middle.on_crop(spec.input_px),
    )


def _graph_layout(model: onnx.ModelProto, spec: ModelSpec) -> Layout:
    tensor, shape, width = spec.map_tensor, spec.map_shape, spec.embedding_dim
    sides = {axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]} - {0}
    if sides - {spec.input_px}:
        raise UserError(
            f"{spec.path.name} takes {min(sides - {spec.input_px})} pixels, pack.yaml says "
            f"input_px: {spec.input_px}: correct models.embedding"
        )
    if tensor is None or shape is None:
        found_tensor, found_shape = find_map_tensor(model)
        if tensor not in (None, found_tensor):
            raise UserError(
                f"{spec.path.name}: give map_shape beside map_tensor: {tensor} in pack.yaml"
            )
        tensor, shape = found_tensor, found_shape
    if width is None:
        width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not width:
        raise UserError(f"{spec.path.name}: give models.embedding.embedding_dim in pack.yaml")
    centers = map_centers(model, tensor, shape[2], spec.input_px)
    return Layout(tensor, shape, width, centers.on_crop(spec.input_px))


def centers(spec: ModelSpec) -> Centers:
    """Return which pixels of a crop of 112 the cells of the map look at."""
    return layout(spec).centers


class AppearanceNetwork:
    """A pack's embedding network with its last feature map as a second output.

    Args:
        graph: its file, if it is open.

    Raises:
        UserError: the graph cannot be loaded, or has no such map tensor.
    """

    def __init__(
        self,
        spec: ModelSpec,
        graph: OnnxGraph | None = None,
        *,
        batch: int,
        device: Device = "cpu",
        threads: int = 1,
        precision: Precision = "fp32",
    ) -> None:
        self._name = spec.path.name
        self._network: ImageNetwork
        if spec.arch is not None:
            from arpgnet.pipeline.networks.backbones import open_checkpoint

            self.layout = layout(spec)
            self._network = open_checkpoint(spec, batch, device, threads, precision)
            return
        graph = graph or open_graph(spec)
        self.layout = layout(spec, graph)
        self._network = GraphNetwork(
            spec,
            graph,
            batch=batch,
            device=device,
            threads=threads,
            extra_outputs=[self.layout.map_tensor],
            precision=precision,
        )

    def describe(
        self, crops: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Aligned RGB crops uint8 [T, S, S, 3] -> embeddings [T, D] as they leave the network,
        not normalized, and maps [T, C, h, w].

        Raises:
            UserError: the shapes are not those of the layout.
        """
        embeddings, maps = self._network.run(crops)
        embeddings = embeddings.reshape(len(crops), -1)
        found = (embeddings.shape[1], *maps.shape[1:])
        expected = (self.layout.embedding_dim, *self.layout.map_shape)
        if found != expected:
            raise UserError(
                f"{self._name} gives embedding_dim and map_shape {list(found)}, pack.yaml says "
                f"{list(expected)}: correct models.embedding"
            )
        return embeddings, maps


def to_half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Return float32 to float16, refusing what float16 cannot hold.

    A face embedding network's values lie below 100; one beyond 65504 means a broken graph or a
    wrong mean and std. Clipping it would hide that, and scaling a clip would make clips
    incomparable.

    Raises:
        ClipError: a value is not finite or larger than 65504.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise ClipError(f"the appearance network gave {largest:g}, more than float16 can hold")
    return values.astype(np.float16)
