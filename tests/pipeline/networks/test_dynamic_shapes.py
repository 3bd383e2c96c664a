"""Graphs whose batch and sides were made dynamic give what they gave before, on every image."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from arpgnet.pipeline.networks.dynamic_shapes import any_batch, any_sides
from arpgnet.pipeline.networks.sessions import make_session
from helpers import graphs


def fixed_at_one() -> onnx.ModelProto:
    """Two channels through an idle slice and a real one, flattened to exactly one row."""
    nodes = [
        helper.make_node("Slice", ["x"], ["all"], axes=[1], starts=[0], ends=[2]),
        helper.make_node("Slice", ["all"], ["half"], axes=[1], starts=[1], ends=[2]),
        helper.make_node("Relu", ["all"], ["positive"]),
        helper.make_node("Concat", ["positive", "half"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "row"], ["y"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 2, 3, 3]), ("y", [1, 27]))
    ]
    row = numpy_helper.from_array(np.array([1, -1]), "row")
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], [row])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = make_session(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x})


def test_many_images_at_once_give_what_one_by_one_gave() -> None:
    model = fixed_at_one()
    before = model.SerializeToString()
    dynamic = any_batch(model)
    assert model.SerializeToString() == before
    x = np.random.default_rng(0).standard_normal((5, 2, 3, 3)).astype(np.float32)
    single = np.concatenate([run(model, x[row : row + 1])[0] for row in range(5)])
    np.testing.assert_array_equal(run(dynamic, x)[0], single)
    with pytest.raises(Exception, match="Got: 5 Expected: 1"):
        run(model, x)


def test_a_slice_that_cuts_nothing_is_dropped_and_others_stay() -> None:
    kinds = [node.op_type for node in any_batch(fixed_at_one()).graph.node]
    assert kinds.count("Slice") == 1


def test_a_network_of_fixed_batch_gets_a_dynamic_one() -> None:
    model = graphs.arcface_mobilefacenet(batch=1)
    x = np.random.default_rng(0).standard_normal((3, 3, 112, 112)).astype(np.float32)
    single = np.concatenate([run(model, x[row : row + 1])[0] for row in range(3)])
    np.testing.assert_allclose(run(any_batch(model), x)[0], single, rtol=1e-5, atol=1e-6)


def pyramid(side: int) -> onnx.ModelProto:
    """Halves, doubles to a written-down side, adds: the neck of a detector."""
    kernel = np.ones((2, 2, 2, 2), np.float32) / 8
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["small", "roi", "scales", "sides"], ["large"], mode="nearest"),
        helper.make_node("Add", ["x", "large"], ["y"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, side, side]) for name in "xy"
    ]
    weights = [
        numpy_helper.from_array(array, name)
        for name, array in (
            ("w", kernel),
            ("roi", np.zeros(0, np.float32)),
            ("scales", np.zeros(0, np.float32)),
            ("sides", np.array([1, 2, side, side])),
        )
    ]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


@pytest.mark.parametrize("shape", [(16, 16), (8, 12), (32, 4)])
def test_images_of_any_sides_give_what_a_graph_of_those_sides_gives(
    shape: tuple[int, int],
) -> None:
    height, width = shape
    x = np.random.default_rng(0).standard_normal((1, 2, height, width)).astype(np.float32)
    found = run(any_sides(pyramid(16)), x)[0]
    down = x.reshape(1, 2, height // 2, 2, width // 2, 2).sum(axis=(1, 3, 5)) / 8
    expected = x + np.repeat(np.repeat(down, 2, axis=1), 2, axis=2)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
