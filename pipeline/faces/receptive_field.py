"""Where on the input picture the cells of a feature map look.

A 3x3 convolution with stride 2 and a border of 1 centres its output i on input 2 i, so after four
of them cell i of a 7 x 7 map looks at pixel 16 i of 112, not at the middle 16 i + 7.5 of the i-th
seventh of the picture. By occlusion, the cells of MobileFaceNet look at 16 i + 1 across and
16 i + 4 down.

Source of the formula: Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural
Networks, Distill 2019, doi:10.23915/distill.00021.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

WINDOWED = ("Conv", "MaxPool", "AveragePool")
POINTWISE = (
    *("Add", "Sub", "Mul", "Div", "BatchNormalization", "PRelu", "Relu", "LeakyRelu", "Clip"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Identity", "Dropout", "Concat", "Cast"),
)


@dataclass(frozen=True)
class Centres:
    """Cell i looks at pixel `first + i * step`; whole numbers are pixel centres."""

    first: float
    step: float


def map_centres(model: onnx.ModelProto, tensor: str, cells: int, input_px: int) -> Centres:
    """Receptive field centres of a tensor [N, C, h, w] with `cells` rows and columns.

    Where the graph holds something else than convolutions, pooling and pointwise operations on
    the way, the cells are taken to divide the picture evenly.
    """
    known = {model.graph.input[0].name: Centres(0.0, 1.0)}
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
    return known.get(tensor, Centres((step - 1) / 2, step))


def _through_window(node: onnx.NodeProto, before: Centres) -> Centres | None:
    """Moves centres through a sliding window; None where the axes differ or padding is implied."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    kernel = attributes.get("kernel_shape", [])
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    begins = attributes.get("pads", [0, 0, 0, 0])[:2]
    square = all(len(set(values)) == 1 for values in (kernel, strides, dilations, begins))
    if not square or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    shift = dilations[0] * (kernel[0] - 1) / 2 - begins[0]
    return Centres(before.first + shift * before.step, before.step * strides[0])
