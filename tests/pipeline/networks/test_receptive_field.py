import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from arpgnet.pipeline.networks.appearance import Centers, map_centers
from helpers import graphs


def convolutions(layers):
    """A chain of Conv nodes (kernel, stride, pad, dilation) with a ReLU after each."""
    nodes, x = [], "input"
    for number, (kernel, stride, pad, dilation) in enumerate(layers):
        attributes = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [pad] * 4,
            "dilations": [dilation] * 2,
        }
        nodes.append(helper.make_node("Conv", [x, f"w{number}"], [f"c{number}"], **attributes))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        x = f"r{number}"
    info = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])
    return helper.make_model(helper.make_graph(nodes, "g", [info], [])), x


@pytest.mark.parametrize(
    "layers",
    [
        [(3, 1, 1, 1), *[(3, 2, 1, 1)] * 4],
        [(7, 2, 3, 1), (3, 2, 1, 1), (1, 2, 0, 1), (3, 1, 2, 2)],
        [(4, 4, 0, 1), (2, 2, 0, 1)],
        [(5, 1, 0, 1), (3, 2, 0, 1)],
    ],
)
def test_centers_are_where_the_gradient_is(layers):
    """The pixels that reach a cell, found by backpropagation, lie evenly about its center."""
    model, tensor = convolutions(layers)
    net = torch.nn.Sequential(
        *(
            torch.nn.Conv2d(1, 1, kernel, stride, pad, dilation, bias=False)
            for kernel, stride, pad, dilation in layers
        )
    )
    for weight in net.parameters():
        torch.nn.init.ones_(weight)
    image = torch.zeros(1, 1, 112, 112, requires_grad=True)
    result = net(image)
    cell = result.shape[-1] // 2
    result[0, 0, cell, cell].backward()
    reached = np.flatnonzero(image.grad[0, 0].sum(0).numpy())
    centers = map_centers(model, tensor, result.shape[-1], 112)
    assert centers.first + cell * centers.step == (reached[0] + reached[-1]) / 2


def test_iresnet_s_strides_look_at_multiples_of_sixteen():
    model, tensor = convolutions([(3, 1, 1, 1), *[(3, 2, 1, 1), (3, 1, 1, 1)] * 4])
    assert map_centers(model, tensor, 7, 112) == Centers(0.0, 16.0)


def test_patches_look_at_their_middle():
    assert map_centers(graphs.arcface_iresnet(), "bn2", 7, 112) == Centers(7.5, 16.0)


def test_unknown_operations_divide_the_image_evenly():
    model = graphs.arcface_iresnet()
    model.graph.node[0].op_type = "ConvTranspose"
    assert map_centers(model, "bn2", 14, 112) == Centers(3.5, 8.0)


def test_a_gate_does_not_replace_what_it_gates():
    model, tensor = convolutions([(3, 2, 1, 1)])
    model.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", [tensor], ["pooled"]),
            helper.make_node("Conv", ["pooled", "w"], ["gate"], kernel_shape=[1, 1]),
            helper.make_node("Mul", ["gate", tensor], ["gated"]),
        ]
    )
    assert isinstance(model, onnx.ModelProto)
    assert map_centers(model, "gated", 56, 112) == Centers(0.0, 2.0)
