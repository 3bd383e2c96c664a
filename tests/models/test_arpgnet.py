"""ARPGNet: invariances, masks, every switch, and numerics that training relies on."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arpgnet.models.arpgnet import (
    EDGE_TYPES,
    AppearanceVector,
    ARPGNet,
    ARPGNetConfig,
    NodePosition,
    Readout,
    RelationConfig,
    adjacency,
    masked_mean,
    pool_nodes,
)
from arpgnet.models.fusion import FusionConfig, FusionMode
from arpgnet.models.views import ViewFusion
from helpers.network_configs import arpgnet_config

CLIPS, FRAMES, GRID, CHANNELS, EMBEDDING, CLASSES = 3, 5, 3, 6, 10, 4
NODES = GRID * GRID


def grid_edges() -> tuple[Tensor, Tensor]:
    """4-neighbor adjacency (type 0) and mirror columns (type 1) of a 3 x 3 grid."""
    edges, types = [], []
    for i in range(NODES):
        for j in range(NODES):
            (r, c), (r2, c2) = divmod(i, GRID), divmod(j, GRID)
            if abs(r - r2) + abs(c - c2) == 1:
                edges.append((i, j))
                types.append(0)
            elif r == r2 and c2 == GRID - 1 - c and i != j:
                edges.append((i, j))
                types.append(1)
    return torch.tensor(edges).T, torch.tensor(types)


def config(
    relation: dict[str, Any] | None = None, fusion: dict[str, Any] | None = None, **top: Any
) -> ARPGNetConfig:
    return arpgnet_config(
        {"heads": 2, "readout": "mean", **(relation or {})},
        {"heads": 2, "window": 1, "window_cross": None, "feed_forward": False, **(fusion or {})},
        num_classes=CLASSES,
        embedding_dim=EMBEDDING,
        map_channels=CHANNELS,
        width=8,
        **{"appearance_vector": "embedding", **top},
    )


def build(settings: ARPGNetConfig) -> ARPGNet:
    torch.manual_seed(0)
    edge_index, edge_type = grid_edges()
    return ARPGNet(settings, edge_index_2E=edge_index, edge_type_E=edge_type, num_nodes=NODES)


def batch(clips: int = CLIPS, frames: int = FRAMES, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(clips, frames, *shape, generator=generator)

    visible = torch.rand(clips, frames, NODES, generator=generator) < 0.8
    valid = torch.rand(clips, frames, generator=generator) < 0.8
    valid[:, 0] = True
    return {
        "embedding_BTE": normal(EMBEDDING),
        "map_BTC": normal(CHANNELS),
        "nodes_BTNC": normal(NODES, CHANNELS),
        "node_xy_BTN2": torch.rand(clips, frames, NODES, 2, generator=generator),
        "visible_BTN": visible,
        "valid_BT": valid,
        "parts_embedding_BTE": normal(EMBEDDING),
        "parts_map_BTC": normal(CHANNELS),
        "parts_cells_BTSC": normal(4, CHANNELS),
    }


SWITCHES = (
    [config(fusion={"mode": mode}) for mode in get_args(FusionMode)]
    + [config(relation={"readout": readout}) for readout in get_args(Readout)]
    + [config(relation={"position": position}) for position in get_args(NodePosition)]
    + [config(appearance_vector=vector) for vector in get_args(AppearanceVector)]
    + [config(relation={"layers": layers}) for layers in (0, 1, 3)]
    + [config(views=fusion, appearance_vector="map") for fusion in get_args(ViewFusion)]
    + [config(relation={"edge_types": kinds}) for kinds in ((), ("adjacent",), ("symmetric",))]
    + [config(relation={"conv": "gatv2", "attention_dropout": 0.2})]
    + [config(relation={"conv": "TransformerConv", "conv_args": {"edge_dim": 2}})]
    + [config(fusion={"conv": conv, "attention_dropout": 0.2}) for conv in ("gatv2", "dot")]
    + [config(fusion={"position": position}) for position in ("learned", "none")]
    + [config(fusion={"window": window}) for window in (0, -1, None)]
    + [config(fusion={"window_cross": 0, "feed_forward": True, "share_weights": True})]
)


def changes(settings: ARPGNetConfig) -> str:
    """What sets a configuration apart from the plain one, for the name of a test."""
    pairs = [(settings.relation, config().relation), (settings.fusion, config().fusion)]
    pairs.append(
        (settings, dataclasses.replace(config(), relation=pairs[0][0], fusion=pairs[1][0]))
    )
    return ",".join(
        f"{field.name}={getattr(changed, field.name)}"
        for changed, plain in pairs
        for field in dataclasses.fields(changed)
        if getattr(changed, field.name) != getattr(plain, field.name)
    )


@pytest.mark.parametrize("settings", SWITCHES, ids=changes)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_switch_trains_every_parameter(settings: ARPGNetConfig, precision: str) -> None:
    net = build(settings)
    inputs = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        out = net(**inputs, attention=True)
        loss = out["logits_BK"].float().pow(2).sum() + out["frame_logits_BTK"].float().pow(2).sum()
    loss.backward()
    streams = settings.fusion.streams
    joined = 1 if settings.fusion.mode == "add" else len(streams)
    assert out["logits_BK"].shape == (CLIPS, CLASSES)
    assert out["frame_logits_BTK"].shape == (CLIPS, FRAMES, CLASSES)
    assert out["fused_BTD"].shape == (CLIPS, FRAMES, 8 * joined)
    for name in streams:
        assert out[f"{name}_BTD"].shape == (CLIPS, FRAMES, 8)
    if settings.fusion.attends:
        keys = FRAMES * len(settings.fusion.sources(0))
        for name in streams:
            shape = (settings.fusion.layers, CLIPS, 2, FRAMES, keys)
            assert out[f"fusion_attention_{name}_LBHTS"].shape == shape
    if "relation" in streams and settings.relation.layers:
        alpha = out["region_attention_LBTHNN"]
        assert alpha.shape == (settings.relation.layers, CLIPS, FRAMES, 2, NODES, NODES)
        torch.testing.assert_close(alpha.sum(-1), torch.ones(alpha.shape[:-1]))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_reported_attention_does_not_change_the_result() -> None:
    net = build(config()).eval()
    plain, reported = net(**batch()), net(**batch(), attention=True)
    assert set(reported) - set(plain) == {
        "region_attention_LBTHNN",
        "fusion_attention_appearance_LBHTS",
        "fusion_attention_relation_LBHTS",
    }
    torch.testing.assert_close(reported["logits_BK"], plain["logits_BK"])


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
def test_relation_is_equivariant_to_renaming_the_regions(conv: str) -> None:
    settings = config(relation={"conv": conv, "position": "none", "readout": "mean"})
    net = build(settings).eval()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(3))
    edge_index, edge_type = grid_edges()
    # node i of the renamed graph is node order[i] of the first
    renamed = ARPGNet(
        settings,
        edge_index_2E=order.argsort()[edge_index],
        edge_type_E=edge_type,
        num_nodes=NODES,
    ).eval()
    renamed.load_state_dict(net.state_dict())
    inputs = batch()
    moved = {
        name: value[:, :, order] if name in ("nodes_BTNC", "node_xy_BTN2", "visible_BTN") else value
        for name, value in inputs.items()
    }
    before, after = net(**inputs, attention=True), renamed(**moved, attention=True)
    torch.testing.assert_close(after["logits_BK"], before["logits_BK"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        after["region_attention_LBTHNN"],
        before["region_attention_LBTHNN"][..., order, :][..., order],
        atol=1e-5,
        rtol=1e-5,
    )
    # the graph matters: without renaming the edges the result differs
    assert not torch.allclose(net(**moved)["logits_BK"], before["logits_BK"], atol=1e-4)


@pytest.mark.parametrize("mode", get_args(FusionMode))
@pytest.mark.parametrize("position", ["none", "sinusoidal", "learned"])
def test_appended_invalid_frames_change_nothing(mode: str, position: str) -> None:
    net = build(config(fusion={"mode": mode, "position": position, "window": 2})).eval()
    inputs = batch()
    noise = batch(frames=4, seed=9)
    noise["valid_BT"] = torch.zeros_like(noise["valid_BT"])
    padded = {name: torch.cat([inputs[name], noise[name]], dim=1) for name in inputs}
    short, long = net(**inputs), net(**padded)
    torch.testing.assert_close(long["logits_BK"], short["logits_BK"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        long["frame_logits_BTK"][:, :FRAMES], short["frame_logits_BTK"], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("mode", get_args(FusionMode))
def test_invalid_frames_have_no_say_in_the_clip(mode: str) -> None:
    net = build(config(fusion={"mode": mode, "window": -1})).eval()
    inputs = batch()
    before = net(**inputs)["logits_BK"]
    invalid = ~inputs["valid_BT"]
    assert invalid.any()
    inputs["embedding_BTE"][invalid] += 50
    inputs["nodes_BTNC"][invalid] -= 50
    torch.testing.assert_close(net(**inputs)["logits_BK"], before)


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
@pytest.mark.parametrize("readout", get_args(Readout))
def test_hidden_regions_have_no_say(readout: str, conv: str) -> None:
    net = build(config(relation={"readout": readout, "conv": conv})).eval()
    inputs = batch()
    inputs["visible_BTN"][0] = False  # a clip whose regions are all hidden stays finite
    before = net(**inputs, attention=True)
    assert before["logits_BK"].isfinite().all()
    hidden = ~inputs["visible_BTN"]
    inputs["nodes_BTNC"][hidden] += 50
    torch.testing.assert_close(net(**inputs)["logits_BK"], before["logits_BK"])
    alpha = before["region_attention_LBTHNN"]
    own = torch.eye(NODES, dtype=torch.bool)
    unseen = hidden[None, :, :, None, None, :] & ~own
    assert (alpha.masked_select(unseen.expand_as(alpha)) == 0).all()


@pytest.mark.parametrize("mode", get_args(FusionMode))
@pytest.mark.parametrize("window", [0, 1, -1])
def test_clip_without_valid_frame_and_clip_of_one_frame(mode: str, window: int) -> None:
    net = build(config(fusion={"mode": mode, "window": window}, dropout=0.0))
    inputs = batch(frames=1)
    inputs["valid_BT"] = torch.tensor([[True], [False], [True]])
    out = net(**inputs, attention=True)
    torch.testing.assert_close(out["logits_BK"][1], net.head.bias)
    torch.testing.assert_close(out["logits_BK"][0], out["frame_logits_BTK"][0, 0])
    for name in net.config.fusion.streams if net.config.fusion.attends else ():
        assert (out[f"fusion_attention_{name}_LBHTS"][:, 1] == 0).all()
    out["logits_BK"].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_clip_logits_are_the_mean_of_valid_frame_logits() -> None:
    net = build(config()).eval()
    inputs = batch()
    out = net(**inputs)
    for clip, valid in enumerate(inputs["valid_BT"]):
        expected = out["frame_logits_BTK"][clip, valid].mean(0)
        torch.testing.assert_close(out["logits_BK"][clip], expected)


def test_a_frame_reaches_as_far_as_layers_times_window() -> None:
    net = build(config(fusion={"window": 1, "layers": 2})).eval()
    inputs = batch(frames=9)
    inputs["valid_BT"][:] = True
    before = net(**inputs)["frame_logits_BTK"]
    inputs["embedding_BTE"][:, 0] += 5
    moved = (net(**inputs)["frame_logits_BTK"] - before).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [True, True, True] + [False] * 6


def test_adjacency_takes_the_chosen_edges_and_self_loops() -> None:
    edge_index = torch.tensor([[0, 1, 0], [1, 2, 2]])  # source; target
    edge_type = torch.tensor([0, 0, 1])
    both = adjacency(edge_index, edge_type, 3, EDGE_TYPES)
    assert both.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    near = adjacency(edge_index, edge_type, 3, ("adjacent",))
    assert near.int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert torch.equal(adjacency(edge_index, edge_type, 3, ()), torch.eye(3, dtype=torch.bool))


def test_pool_nodes_averages_the_cells_of_each_region() -> None:
    map_BTChw = torch.arange(2 * 1 * 2 * 2 * 3, dtype=torch.float32).view(2, 1, 2, 2, 3)
    weights_NS = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 0, 0.5, 0, 0, 0.5]])
    pooled = pool_nodes(map_BTChw, weights_NS)
    expected = torch.stack([map_BTChw[..., 0, 0], map_BTChw[..., 2].mean(-1)], dim=2)
    torch.testing.assert_close(pooled, expected)
    each_frame = weights_NS.expand(2, 1, 2, 6)
    torch.testing.assert_close(pool_nodes(map_BTChw.half(), each_frame).float(), expected)


def test_masked_mean() -> None:
    x = torch.tensor([[[1.0], [2.0], [6.0]], [[1.0], [2.0], [6.0]]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert masked_mean(x, mask).tolist() == [[3.5], [0.0]]


def test_feature_statistics_standardize_and_are_saved() -> None:
    settings = config(appearance_vector="both")
    net, plain = build(settings).eval(), build(settings).eval()
    inputs = batch()
    statistics = {}
    for name, key in (("embedding", "embedding_BTE"), ("map_vector", "map_BTC"), ("nodes",) * 2):
        features = inputs["nodes_BTNC" if key == "nodes" else key].flatten(0, -2)
        statistics[name] = (features.mean(0) + 1, features.std(0) * 3)
    net.set_feature_statistics(**statistics)
    standard = dict(inputs)
    for name, key in (("embedding", "embedding_BTE"), ("map_vector", "map_BTC")):
        standard[key] = (inputs[key] - statistics[name][0]) / statistics[name][1]
    standard["nodes_BTNC"] = (inputs["nodes_BTNC"] - statistics["nodes"][0]) / statistics["nodes"][
        1
    ]
    expected = plain(**standard)["logits_BK"]
    torch.testing.assert_close(net(**inputs)["logits_BK"], expected, atol=1e-5, rtol=1e-4)
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(plain(**inputs)["logits_BK"], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("share", [False, True])
def test_weights_survive_safetensors(share: bool, tmp_path: Path) -> None:
    settings = config(fusion={"share_weights": share})
    net, other = build(settings).eval(), build(settings).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(other(**batch())["logits_BK"], net(**batch())["logits_BK"])


def test_constant_features_do_not_blow_up_and_unread_ones_are_ignored() -> None:
    net = build(config(fusion={"mode": "appearance"})).eval()
    inputs = batch()
    zero = torch.zeros(EMBEDDING)
    nodes = (torch.zeros(CHANNELS), torch.ones(CHANNELS))
    net.set_feature_statistics(embedding=(zero, zero), nodes=nodes)
    assert net(**inputs)["logits_BK"].isfinite().all()


def test_half_precision_features_are_accepted() -> None:
    net = build(config(appearance_vector="both")).eval()
    inputs = batch()
    stored = {name: x.half() if x.is_floating_point() else x for name, x in inputs.items()}
    widened = {name: x.float() if x.is_floating_point() else x for name, x in stored.items()}
    got, expected = net(**stored)["logits_BK"], net(**widened)["logits_BK"]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_bfloat16_stays_close_to_float32() -> None:
    net = build(config(relation={"conv": "gatv2"})).eval()
    exact = net(**batch())["logits_BK"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(**batch())["logits_BK"]
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
def test_deterministic_mode_repeats_bit_for_bit(conv: str) -> None:
    def gradients() -> list[Tensor]:
        net = build(config(relation={"conv": conv}, fusion={"conv": conv, "position": "learned"}))
        net(**batch())["logits_BK"].pow(2).sum().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_branch_of_the_forward_pass_depends_on_data() -> None:
    net = build(config(relation={"conv": "gat", "readout": "attention", "position": "both"})).eval()
    inputs = batch()
    traced = torch.export.export(net, (), inputs).module()
    torch.testing.assert_close(traced(**inputs)["logits_BK"], net(**inputs)["logits_BK"])


def test_it_can_learn_a_pattern_only_the_graph_branch_sees() -> None:
    """Eight clips told apart by which side of the face is brighter: loss falls below 0.05."""
    net = build(config(relation={"readout": "flatten"}, dropout=0.0))
    inputs = batch(clips=8)
    inputs["visible_BTN"][:] = True
    label = torch.arange(8) % 2
    side = (GRID - 1) * label  # column 0 or 2
    for clip in range(8):
        inputs["nodes_BTNC"][clip, :, side[clip] :: GRID] += 2
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(net(**inputs)["logits_BK"], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize(
    ("drop", "settings", "message"),
    [
        ("embedding_BTE", config(), "embedding features"),
        ("map_BTC", config(appearance_vector="map"), "map features"),
        ("nodes_BTNC", config(), "region features"),
        ("node_xy_BTN2", config(relation={"position": "coordinates"}), "region coordinates"),
    ],
)
def test_missing_input_is_named(drop: str, settings: ARPGNetConfig, message: str) -> None:
    inputs: dict[str, Any] = {**batch(), drop: None}
    with pytest.raises(ValueError, match=f"needs {message}, got None"):
        build(settings)(**inputs)


@pytest.mark.parametrize("settings", [ARPGNetConfig, RelationConfig, FusionConfig])
def test_settings_have_no_defaults_that_could_disagree_with_the_file(settings: type) -> None:
    for field in dataclasses.fields(settings):
        assert field.default is dataclasses.MISSING, field.name
        assert field.default_factory is dataclasses.MISSING, field.name


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (config().relation, {"conv": "dot"}, "relation.conv is 'dot'"),
        (config().relation, {"readout": "max"}, "relation.readout"),
        (config().relation, {"position": "sinusoidal"}, "relation.position"),
        (config().relation, {"edge_types": ("near",)}, "choose one of adjacent, symmetric"),
        (config().relation, {"layers": -1}, "relation.layers is -1"),
        (config(), {"appearance_vector": "cls"}, "choose one of embedding, map, both"),
    ],
)
def test_bad_settings_say_what_to_do(part: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(part, **changes)


def test_plain_values_make_a_config_and_a_net_is_reproducible_from_it() -> None:
    settings = config(fusion={"mode": "serial"})
    plain = dataclasses.asdict(settings)
    again = ARPGNetConfig(
        **{
            **plain,
            "relation": RelationConfig(**plain["relation"]),
            "fusion": FusionConfig(**plain["fusion"]),
        }
    )
    assert again == settings
    one, two = build(settings), build(again)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
