"""Convolutions of torch_geometric in the relation branch: ours by another name, and any other."""

from typing import Any

import pytest
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet, ARPGNetConfig, try_relation_conv
from arpgnet.models.attention import Edges
from arpgnet.models.pyg_convs import PyGConv
from helpers.network_configs import arpgnet_config

SIDE, WIDTH, CHANNELS = 4, 16, 6
REGIONS = SIDE * SIDE
# a class of each family: with attention, without, with kinds of edges, with attributes of edges,
# with a network inside, with an argument that has no default, with another output width
FAMILIES: dict[str, dict[str, Any]] = {
    "TransformerConv": {"heads": 2, "edge_dim": 2, "dropout": 0.1},
    "GCNConv": {},
    "GINConv": {"train_eps": True},
    "RGATConv": {},
    "GINEConv": {},
    "SAGEConv": {"aggr": ["mean", "max"]},
    "ChebConv": {"K": 2},
    "PNAConv": {"aggregators": ["mean", "std"], "scalers": ["identity", "amplification"]},
    "MixHopConv": {},
}

# the rest of them costs 3 s
QUICK = ("TransformerConv", "GCNConv", "GINConv")


def kinds_of_grid() -> Tensor:
    """Bool [2, target, source]: neighbors in a 4 x 4 grid, and mirrored cells; the middle ones are
    both."""
    kinds = torch.zeros(2, REGIONS, REGIONS, dtype=torch.bool)
    for a in range(REGIONS):
        for b in range(REGIONS):
            (r, c), (r2, c2) = divmod(a, SIDE), divmod(b, SIDE)
            kinds[0, a, b] = abs(r - r2) + abs(c - c2) == 1
            kinds[1, a, b] = r == r2 and c + c2 == SIDE - 1
    return kinds


def network(conv: str, arguments: dict[str, Any] | None = None, **relation: Any) -> ARPGNet:
    config: ARPGNetConfig = arpgnet_config(
        {"conv": conv, "conv_args": arguments or {}, "heads": 2, "dropout": 0.0, **relation},
        {"mode": "relation", "layers": 1, "heads": 2, "dropout": 0.0},
        width=WIDTH,
        dropout=0.0,
        map_channels=CHANNELS,
    )
    kind, target, source = kinds_of_grid().nonzero(as_tuple=True)
    return ARPGNet(
        config, edge_index_2E=torch.stack([source, target]), edge_type_E=kind, num_nodes=REGIONS
    )


def inputs(clips: int = 4, frames: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "nodes_BTNC": torch.randn(clips, frames, REGIONS, CHANNELS, generator=generator),
        "visible_BTN": torch.rand(clips, frames, REGIONS, generator=generator) < 0.7,
        "valid_BT": torch.ones(clips, frames, dtype=torch.bool),
    }


@pytest.mark.parametrize(("name", "ours"), [("GATv2Conv", "gatv2"), ("GATConv", "gat")])
def test_by_name_it_is_our_layer(name: str, ours: str) -> None:
    theirs, own = network(name).eval(), network(ours).eval()
    weights = {
        (key.replace(".conv.", ".") if key.startswith("relation.") else key): value
        for key, value in theirs.state_dict().items()
    }
    own.load_state_dict(weights)
    expected, found = (net(**inputs(), attention=True) for net in (own, theirs))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def test_every_family_learns(name: str) -> None:
    torch.manual_seed(0)
    net = network(name, FAMILIES[name])
    data = inputs(clips=16, frames=2)
    label = (data["nodes_BTNC"][:, :, 5, 0].mean(1) > 0).long()
    before = [parameter.clone() for parameter in net.relation.convs.parameters()]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(net(**data)["logits_BK"], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0], losses
    after = net.relation.convs.parameters()
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_frames_do_not_see_each_other_nor_hidden_regions(name: str) -> None:
    net = network(name, FAMILIES[name]).eval()
    data = inputs()
    before = net(**data)["relation_BTD"]
    hidden = ~data["visible_BTN"][..., None]
    data["nodes_BTNC"] = torch.where(hidden, 9.0, data["nodes_BTNC"])
    torch.testing.assert_close(net(**data)["relation_BTD"], before, atol=1e-5, rtol=1e-5)
    data["nodes_BTNC"][1, 1] = 5.0
    apart = (net(**data)["relation_BTD"] - before).abs().amax(-1) > 1e-4
    assert apart.nonzero().tolist() == [[1, 1]]


def test_edges_are_those_that_are_chosen_and_a_pair_of_two_kinds_has_two() -> None:
    kinds = kinds_of_grid()
    typed, plain = PyGConv("RGCNConv", {}, 8, 1, kinds), PyGConv("GCNConv", {}, 8, 1, kinds)
    attributed = PyGConv("GINEConv", {}, 8, 1, kinds)
    everything = Edges(torch.ones(2, REGIONS, REGIONS, dtype=torch.bool), torch.empty(0))
    pairs, both = int(kinds.any(0).sum()), int(kinds.all(0).sum())
    assert both == 2 * SIDE
    assert typed._inputs(everything.mask)["edge_index"].shape == (2, 2 * (pairs + both))
    assert plain._inputs(everything.mask)["edge_index"].shape == (2, 2 * pairs)
    found = attributed._inputs(everything.mask)
    source, target = found["edge_index"] % REGIONS
    assert torch.equal(found["edge_attr"].T.bool(), kinds[:, target, source])
    assert found["edge_attr"].sum() == 2 * (pairs + both)
    # the network passes on the chosen kinds alone
    net = network("RGCNConv", edge_types=("symmetric",))
    assert net.relation.convs[0].get_buffer("kinds_KNN").sum((1, 2)).tolist() == [0, REGIONS]


@pytest.mark.parametrize(
    ("conv", "arguments", "line"),
    [
        ("TransfomerConv", {}, r"is 'TransfomerConv'; .*: did you mean 'TransformerConv'\?"),
        ("gcn", {}, r"did you mean 'GCNConv'\?"),
        ("MessagePassing", {}, "choose gat, gatv2 or a convolution of torch_geometric.nn"),
        ("HypergraphConv", {}, "HypergraphConv needs hyperedge_index, which the relation branch"),
        ("HGTConv", {}, "needs x_dict, edge_index_dict"),
        ("SignedConv", {"first_aggr": True}, "needs pos_edge_index, neg_edge_index"),
        ("PointTransformerConv", {}, "needs pos"),
        ("DynamicEdgeConv", {"k": 3}, "does not take the edges of the region graph"),
        ("DirGNNConv", {}, "made of other networks (conv), which relation.conv_args cannot"),
        ("WLConv", {}, "WLConv does not work on the region graph"),
        ("ChebConv", {}, "ChebConv needs K: state it in relation.conv_args"),
        ("GCNConv", {"head": 2}, "conv_args.head: GCNConv does not take it; it takes improved"),
        ("TransformerConv", {"head": 2}, r"does not take it; did you mean 'heads'\?"),
        ("TransformerConv", {"heads": 3}, "heads: 3 does not divide fusion.width: 16"),
        ("TransformerConv", {"heads": "two"}, "heads: two does not divide"),
        ("TransformerConv", {"edge_dim": 3}, "edge_dim is 3, but the region graph has 2 kinds"),
        ("RGCNConv", {"num_relations": 5}, "num_relations is 5, but the region graph has 2"),
        ("GCNConv", {"in_channels": 8}, "conv_args.in_channels is set by the network"),
        ("GCNConv", {"cached": True}, "conv_args.cached is set by the network"),
        ("SAGEConv", {"aggr": "mena"}, "conv_args {aggr: mena} does not work on the region graph"),
        ("gatv2", {"heads": 2}, "of relation.conv: gatv2, set relation.heads"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    conv: str, arguments: dict[str, Any], line: str
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=line.replace("(conv)", r"\(conv\)")) as caught:
        try_relation_conv(conv, arguments, width=16, heads=4)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("relation.conv")
    assert torch.equal(torch.get_rng_state(), state)


def test_trying_leaves_random_numbers_as_they_were() -> None:
    state = torch.get_rng_state()
    try_relation_conv("TransformerConv", {"heads": 2}, width=16, heads=4)
    assert torch.equal(torch.get_rng_state(), state)
