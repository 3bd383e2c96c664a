"""Every choice of the configuration is in the graph what it is in the network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from arpgnet.models.abrnet import ABRNetConfig
from arpgnet.models.arpgnet import ARPGNet
from arpgnet.models.fusion import BAND_FRAMES
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.export.parity import (
    TOLERANCE,
    check_parity,
    largest_difference,
    longest,
    trials,
)
from arpgnet.pipeline.export.traceable import LOGITS, TraceableNet, input_names
from arpgnet.pipeline.export.write import checked_graph, to_onnx
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.training.kinds import trained_task
from helpers.network_configs import arpgnet_config

REGIONS = 6
CLASSES = trained_task("expression", ["a", "b", "c", "d"])
UNITS = trained_task("action_units", ["au_1", "au_2", "au_4", "au_12"])


def network(
    *,
    vector: str = "map",
    relation: dict | None = None,
    views: Any = None,
    also: int = 0,
    **fusion: Any,
) -> ARPGNet:
    torch.manual_seed(0)
    ring = [[i, (i + 1) % REGIONS] for i in range(REGIONS)]
    edges = torch.tensor(ring + [[b, a] for a, b in ring]).T.contiguous()
    plain = {"layers": 1, "heads": 2, "window": 2, "window_cross": None, "feed_forward": False}
    config = arpgnet_config(
        {"layers": 1, "heads": 2, "readout": "mean"} | (relation or {}),
        plain | fusion,
        num_classes=4,
        embedding_dim=5,
        map_channels=3,
        width=8,
        appearance_vector=vector,
        views=views,
        also=also,
    )
    built = ARPGNet(
        config,
        edge_index_2E=edges,
        edge_type_E=torch.zeros(2 * REGIONS, dtype=torch.int64),
        num_nodes=REGIONS,
    )
    mean, std = torch.tensor([3.0, -2.0, 0.5]), torch.tensor([0.1, 4.0, 0.0])
    built.set_feature_statistics(map_vector=(mean, std), nodes=(mean, std))
    return built.eval()


ABRNET = ABRNetConfig(
    units=4, pool="attention", relations="matrix", layers=2, heads=2, fuse=True, dropout=0.1
)
OTHER = replace(ABRNET, relations="attention", pool="mean", fuse=False)
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "gat": {"feed_forward": True, "layers": 2},
    "gatv2": {"conv": "gatv2", "relation": {"conv": "gatv2", "layers": 2}},
    "dot": {"conv": "dot", "window": None, "vector": "both"},
    "serial": {"mode": "serial", "layers": 2, "share_weights": True},
    "cross": {"mode": "cross", "window": -1, "window_cross": 0, "position": "none"},
    "concat": {"mode": "concat", "vector": "embedding", "relation": {"layers": 0}},
    "add": {"mode": "add", "relation": {"readout": "flatten"}},
    "appearance": {"mode": "appearance"},
    "relation": {"mode": "relation", "relation": {"readout": "attention"}},
    "coordinates": {"relation": {"position": "both", "edge_types": ()}},
    "TransformerConv": {"relation": {"conv": "TransformerConv", "conv_args": {"edge_dim": 2}}},
    "RGCNConv": {"relation": {"conv": "RGCNConv", "layers": 2}},
    "abrnet": {"relation": {"abrnet": ABRNET}},
    "abrnet attention": {"relation": {"abrnet": OTHER}},
    "views-mean": {"views": "mean", "vector": "both"},
    "views-concat": {"views": "concat"},
    "also": {"also": 3},
    "views-attention": {"views": "attention", "vector": "both"},
    "views-alone": {"views": "attention", "mode": "appearance"},
    "learned": {"position": "learned", "max_frames": 9, "relation": {"position": "none"}},
}


def test_further_tasks_are_outputs_of_their_own() -> None:
    net = network(also=4, mode="appearance")
    further = [
        trained_task("valence_arousal", ["valence", "arousal"]),
        trained_task("action_units", ["au_1", "au_2"]),
    ]
    graph, difference = checked_graph(net, CLASSES, {}, further)
    assert difference <= TOLERANCE / 10
    session = make_session(graph)
    names = [out.name for out in session.get_outputs()]
    own = ["also_valence_arousal", "also_valence_arousal_frame_logits",
           "also_action_units", "also_action_units_frame_logits"]  # fmt: skip
    assert names == ["probabilities", *LOGITS, *own]
    given = {"map_vector": torch.randn(2, 3, 3), "valid": torch.ones(2, 3, dtype=torch.bool)}
    found = session.run(own, {name: value.numpy() for name, value in given.items()})
    with torch.no_grad():
        out = net(map_BTC=given["map_vector"], valid_BT=given["valid"])
    of_clips = out["also_logits_BJ"]
    expected = (
        of_clips[:, :2].tanh(), out["also_frame_logits_BTJ"][..., :2],
        of_clips[:, 2:].sigmoid(), out["also_frame_logits_BTJ"][..., 2:],
    )  # fmt: skip
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.slow
def test_values_are_an_output_of_their_own() -> None:
    net, task = network(), trained_task("valence_arousal", ["a", "b", "c", "d"])
    graph, difference = checked_graph(net, task, {})
    assert difference <= TOLERANCE / 10
    assert [out.name for out in make_session(graph).get_outputs()] == ["values", *LOGITS]


SLOW = ("abrnet attention",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in CONFIGURATIONS],
)
def test_graph_equals_the_network(name: str) -> None:
    net, task = network(**CONFIGURATIONS[name]), UNITS if "abrnet" in name else CLASSES
    assert check_parity(net, task, to_onnx(net, task, {})) <= TOLERANCE / 10


def test_a_convolution_without_a_form_in_onnx_says_so_in_one_line() -> None:
    net = network(relation={"conv": "EdgeConv"})
    with pytest.raises(
        UserError, match=r"relation\.conv: EdgeConv .* cannot be exported"
    ) as caught:
        checked_graph(net, CLASSES, {})
    assert "\n" not in str(caught.value)


def test_trials_reach_beyond_one_band_but_not_beyond_a_position_table() -> None:
    lengths = [inputs["valid"].shape[1] for inputs in trials(network())]
    assert max(lengths) > BAND_FRAMES
    assert {inputs["valid"].shape[0] for inputs in trials(network())} > {1, 2}
    net = network(position="learned", max_frames=9)
    assert longest(net) == 9
    assert max(inputs["valid"].shape[1] for inputs in trials(net)) == 9
    assert longest(network(position="learned", mode="add")) is None


def test_reads_only_what_the_configuration_reads() -> None:
    assert input_names(network(mode="appearance")) == ["map_vector", "valid"]
    assert input_names(network(vector="both", relation={"position": "coordinates"})) == [
        "embedding", "map_vector", "nodes", "node_xy", "visible", "valid",
    ]  # fmt: skip
    assert input_names(network(views="attention", mode="appearance")) == [
        "parts_cells", "nodes", "valid",
    ]  # fmt: skip


def test_two_views_take_maps_of_any_size() -> None:
    net = network(views="attention", mode="appearance")
    session = make_session(to_onnx(net, CLASSES, {}))
    given = {"parts_cells": torch.randn(2, 3, 49, 3), "nodes": torch.randn(2, 3, 9, 3)}
    given["valid"] = torch.ones(2, 3, dtype=torch.bool)
    with torch.no_grad():
        expected = net(
            parts_cells_BTSC=given["parts_cells"],
            nodes_BTNC=given["nodes"],
            valid_BT=given["valid"],
        )["logits_BK"]
    found = session.run(["logits"], {name: value.numpy() for name, value in given.items()})[0]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_lengths_stay_open_and_bytes_repeat() -> None:
    net = network()
    graph = to_onnx(net, CLASSES, {"b": [1], "a": "ä"})
    session = make_session(graph)
    assert [given.shape[:2] for given in session.get_inputs()] == [["clips", "frames"]] * 4
    assert [out.name for out in session.get_outputs()] == ["probabilities", *LOGITS]
    assert session.get_modelmeta().custom_metadata_map == {"a": '"ä"', "b": "[1]"}
    assert to_onnx(net, CLASSES, {"a": "ä", "b": [1]}) == graph


def test_another_network_does_not_pass() -> None:
    net, other = network(), network()
    with torch.no_grad():
        other.head.bias.add_(0.01)
    graph = to_onnx(other, CLASSES, {})
    assert largest_difference(net, CLASSES, graph) == pytest.approx(0.01, rel=0.01)
    with pytest.raises(UserError, match="nothing was written"):
        check_parity(net, CLASSES, graph)


def test_a_clip_without_a_face_has_the_prediction_of_zeros() -> None:
    net = network()
    session = make_session(to_onnx(net, CLASSES, {}))
    inputs = {name: value.numpy() for name, value in next(iter(trials(net))).items()}
    inputs["valid"] = np.zeros_like(inputs["valid"])
    probabilities = session.run(["probabilities"], inputs)[0][0]
    expected = net.head.bias.detach().softmax(-1).numpy()
    assert probabilities == pytest.approx(expected, abs=1e-6)


def test_the_network_itself_is_left_alone() -> None:
    net = network(conv="gatv2")
    before = list(dict(net.named_modules()))
    TraceableNet(net, CLASSES)
    assert list(dict(net.named_modules())) == before
