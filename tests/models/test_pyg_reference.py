"""The reference of benchmarks/train.py is our network: it trains along the same losses."""

import importlib
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch

from arpgnet.models.arpgnet import ARPGNet
from benchmarks.pyg_arpgnet import PygARPGNet, clip_graph, frame_graphs
from helpers.network_configs import arpgnet_config

CLIPS, FRAMES, NODES, CHANNELS, STEPS = 4, 5, 6, 12, 5


def test_same_losses_from_the_same_weights() -> None:
    torch.manual_seed(0)
    config = arpgnet_config(
        {"heads": 2, "readout": "flatten", "dropout": 0.0},
        {"heads": 2, "window": 1, "window_cross": None, "feed_forward": True, "dropout": 0.0},
        num_classes=3,
        embedding_dim=4,
        map_channels=CHANNELS,
        width=8,
        appearance_vector="map",
        dropout=0.0,
    )
    ring = torch.arange(NODES)
    edge_index = torch.stack([torch.cat([ring, ring]), torch.cat([ring.roll(1), ring.roll(-1)])])
    kinds = torch.zeros(edge_index.shape[1], dtype=torch.int64)
    ours = ARPGNet(config, edge_index_2E=edge_index, edge_type_E=kinds, num_nodes=NODES)
    statistics = torch.randn(CHANNELS), torch.rand(CHANNELS) + 0.5
    ours.set_feature_statistics(nodes=statistics, map_vector=statistics)
    theirs = PygARPGNet(config, NODES)
    theirs.load_state_dict(ours.state_dict())

    nodes, vector = torch.randn(CLIPS, FRAMES, NODES, CHANNELS), torch.randn(CLIPS, FRAMES, 12)
    visible = torch.rand(CLIPS, FRAMES, NODES) < 0.7
    valid = torch.ones(CLIPS, FRAMES, dtype=torch.bool)
    valid[0, 2:] = False
    label = torch.tensor([0, 1, 2, 0])
    graphs = [
        frame
        for clip in zip(nodes, vector, visible, strict=True)
        for frame in frame_graphs(*clip, edge_index)
    ]
    frames = Batch.from_data_list(graphs)
    clips = Batch.from_data_list([clip_graph(row, 1) for row in valid])
    first, second = (torch.optim.AdamW(net.parameters(), lr=1e-2) for net in (ours, theirs))
    for _ in range(STEPS):
        mine = ours(nodes_BTNC=nodes, map_BTC=vector, visible_BTN=visible, valid_BT=valid)
        pairs = [(first, mine["logits_BK"]), (second, theirs(frames, clips))]
        losses = []
        for optimizer, logits in pairs:
            loss = cross_entropy(logits, label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=0)


def test_a_step_of_the_benchmark_is_the_same_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `benchmarks/train.py` times, on a few clips: same weights, same losses."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    train_steps = importlib.import_module("train_steps")
    clips = train_steps.made_features(6, torch.device("cpu"))
    network = train_steps.our_network(train_steps.settings(dropout=False))
    theirs = train_steps.their_network(network)
    chosen = [torch.tensor([0, 3]), torch.tensor([5, 1]), torch.tensor([2, 4])]
    ours = train_steps.losses(train_steps.our_step(network, clips, "fp32"), chosen)
    other = train_steps.losses(train_steps.their_step(theirs, clips, "fp32"), chosen)
    torch.testing.assert_close(ours, other, atol=1e-4, rtol=0)
