"""Every node that is imported equals ONNX Runtime's; what cannot be is refused by name."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from arpgnet.pipeline.networks.image_network import TORCH_KINDS
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.networks.torch_graph import MAKERS, NotImportable, import_graph, to_bfloat16
from helpers import graphs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 6, 6)).astype(np.float32)


def model_of(kind: str, weights: dict[str, np.ndarray], **attributes: Any) -> onnx.ModelProto:
    nodes = [
        # something an activation could overwrite, and must not: it is an output too
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node(kind, ["twice", *weights], ["y"], **attributes),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6, 6]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "twice")),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def floats(*shape: int) -> np.ndarray:
    return RNG.uniform(0.2, 1.0, shape).astype(np.float32)


NODES: dict[str, tuple[str, dict[str, np.ndarray], dict[str, Any]]] = {
    "conv": ("Conv", {"w": floats(5, 4, 3, 3), "b": floats(5)}, {"pads": [1, 1, 1, 1]}),
    "stride": ("Conv", {"w": floats(5, 4, 3, 3)}, {"strides": [2, 2], "dilations": [2, 2]}),
    "depthwise": ("Conv", {"w": floats(4, 1, 3, 3)}, {"group": 4}),
    "norm": (
        "BatchNormalization",
        {name: floats(4) for name in ("scale", "shift", "mean", "variance")},
        {"epsilon": 2e-5},
    ),
    "prelu": ("PRelu", {"slope": floats(4, 1, 1)}, {}),
    "prelu1": ("PRelu", {"slope": floats(1)}, {}),
    "relu": ("Relu", {}, {}),
    "leaky": ("LeakyRelu", {}, {"alpha": 0.2}),
    "clip": ("Clip", {"low": np.float32(0), "high": np.float32(1)}, {}),
    "add": ("Add", {"c": floats(1, 4, 1, 1)}, {}),
    "sub": ("Sub", {"c": floats(4, 6, 6)}, {}),
    "mul": ("Mul", {"c": np.float32(0.3)}, {}),
    "div": ("Div", {"c": floats(1)}, {}),
    "sigmoid": ("Sigmoid", {}, {}),
    "identity": ("Identity", {}, {}),
    "matmul": ("MatMul", {"w": floats(6, 3)}, {}),
    "flatten": ("Flatten", {}, {}),
    "reshape": ("Reshape", {"shape": np.array([0, -1])}, {}),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_gives_what_onnx_runtime_gives(name: str) -> None:
    kind, weights, attributes = NODES[name]
    model = model_of(kind, weights, **attributes)
    session = make_session(model.SerializeToString())
    expected = session.run(["y", "twice"], {"x": X})
    with torch.inference_mode():
        found = import_graph(model, ["y", "twice"])(torch.from_numpy(X.copy()))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "weights", "attributes", "why"),
    [
        ("Softsign", {}, {}, "a node of type Softsign"),
        ("Conv", {"w": floats(5, 4, 3, 3)}, {"pads": [0, 0, 1, 1]}, "padding"),
        ("Conv", {"w": floats(5, 4, 3, 3)}, {"auto_pad": "SAME_UPPER"}, "padding"),
        ("Clip", {"low": np.float32(0)}, {}, "one bound"),
        ("Flatten", {}, {"axis": 2}, "mixes images"),
        ("Reshape", {"shape": np.array([2, 2, -1])}, {}, "a reshape to"),
        ("MatMul", {"w": floats(4, 6, 3)}, {}, "a constant matrix"),
    ],
)
def test_what_has_no_counterpart_is_refused(
    kind: str, weights: dict[str, np.ndarray], attributes: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotImportable, match=why):
        import_graph(model_of(kind, weights, **attributes), ["y"])


def test_what_can_be_imported_is_known_without_importing_torch() -> None:
    assert frozenset(MAKERS) | {"Constant"} == TORCH_KINDS | {"MatMul"}


def test_a_constant_by_another_name_is_a_constant() -> None:
    model = model_of("Conv", {"w": floats(5, 4, 3, 3), "b": floats(5)})
    model.graph.node[1].input[2] = "alias"
    model.graph.node.insert(0, helper.make_node("Identity", ["b"], ["alias"]))
    (expected,) = make_session(model.SerializeToString()).run(["y"], {"x": X})
    with torch.inference_mode():
        (found,) = import_graph(model, ["y"])(torch.from_numpy(X.copy()))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(NotImportable, match="no tensor nowhere"):
        import_graph(model_of("Relu", {}), ["y", "nowhere"])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4))
def test_a_whole_network_is_the_same(seed: int, count: int) -> None:
    model = graphs.arcface_iresnet(seed=seed)
    session = make_session(model.SerializeToString(), extra_outputs=["bn2"])
    x = np.random.default_rng(seed).standard_normal((count, 3, 112, 112)).astype(np.float32)
    expected = session.run(["683", "bn2"], {session.get_inputs()[0].name: x})
    with torch.inference_mode():
        found = import_graph(model, ["683", "bn2"])(torch.from_numpy(x))
    for one, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one.numpy() / scale, other / scale, atol=1e-5)


def test_bfloat16_keeps_norms_in_float32() -> None:
    module = to_bfloat16(import_graph(graphs.arcface_iresnet(), ["683"]))
    types = {name.rstrip("0123456789"): tensor.dtype for name, tensor in module.named_buffers()}
    assert types == {"weight": torch.bfloat16, "norm": torch.float32}
