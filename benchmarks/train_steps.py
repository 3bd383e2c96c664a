"""A data set of made features, and one training step of it, ours and PyTorch Geometric's.

A step takes the clips' numbers and does everything else: it gathers or collates the batch, runs
forward and backward, clips gradients and lets AdamW update. Nothing in it waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from pyg_arpgnet import PygARPGNet, clip_graph, frame_graphs
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch as Graphs

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import load_params, parse_params
from arpgnet.pipeline.geometry.grid import grid_topology
from arpgnet.pipeline.training.features import Batch, Features
from arpgnet.pipeline.training.network import build_network, logits_of, network_config

FRAMES, GRID, CHANNELS, CLASSES = 16, 7, 512, 7
LR, CLIP = 1e-3, 1.0

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Clips:
    """M clips of `FRAMES` frames: their features, clip after clip, and labels int64 [M]."""

    features: Features
    label: Tensor

    @property
    def device(self) -> torch.device:
        return self.features.device

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, clips: Tensor) -> Tensor:
        """Where the frames of int64 [B] clips lie: int64 [B, FRAMES]."""
        return clips[:, None] * FRAMES + torch.arange(FRAMES, device=clips.device)

    def take(self, clips: Tensor) -> Batch:
        """A batch as training takes it."""
        return self.features.take(self.rows(clips), self.label[clips])


def settings(*, dropout: bool = True) -> Params:
    """params.yaml, or the same without dropout, so that two networks can be compared."""
    params = load_params()
    if dropout:
        return params
    values = params.model_dump()
    values["relation"]["dropout"] = values["fusion"]["dropout"] = 0.0
    values["fusion"]["head_dropout"] = 0.0
    return parse_params(values)


def graph_metadata(params: Params) -> dict[str, Any]:
    """What the stages before `train` would say of this data."""
    topology = grid_topology(GRID, params.graph.neighborhood)
    return {
        "names": topology.names,
        "edges": topology.edges,
        "edge_types": topology.edge_types,
        "embedding_dim": CHANNELS,
        "map_shape": (CHANNELS, GRID, GRID),
    }


def made_features(clips: int, device: torch.device) -> Clips:
    """Random float16 features as the training stage loads them, every frame and region in use."""
    made = torch.Generator().manual_seed(0)
    rows = clips * FRAMES
    nodes = torch.empty(rows, GRID**2, CHANNELS, dtype=torch.float16)
    for frame in nodes:
        frame.copy_(torch.randn(frame.shape, generator=made))
    features = Features(
        embedding=torch.zeros(rows, 1, dtype=torch.float16),
        map_vector=nodes.mean(1, dtype=torch.float32).half(),
        nodes=nodes,
        node_xy=torch.zeros(rows, GRID**2, 2),
        visible=torch.ones(rows, GRID**2, dtype=torch.bool),
        valid=torch.ones(rows, dtype=torch.bool),
    )
    label = torch.randint(CLASSES, (clips,), generator=made)
    return Clips(features.to(device), label.to(device))


def our_network(params: Params, seed: int = 0) -> ARPGNet:
    torch.manual_seed(seed)
    metadata = graph_metadata(params)
    network = build_network(network_config(params, metadata, CLASSES, FRAMES), metadata)
    # as from data of standard deviation 1 and 1/7: the scale of the inputs matters to no timing
    unit = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    network.set_feature_statistics(nodes=unit, map_vector=(unit[0], unit[1] / GRID))
    return network


def their_network(ours: ARPGNet) -> PygARPGNet:
    """The reference with the same weights."""
    theirs = PygARPGNet(ours.config, GRID**2)
    theirs.load_state_dict(ours.state_dict())
    return theirs


def our_step(network: ARPGNet, features: Clips, precision: str) -> Step:
    network = network.to(features.device).train()
    run = network_only(network)
    update = updater(network.parameters(), fused=True)

    def step(index: Tensor) -> Tensor:
        batch = features.take(index)
        with autocast(features.device, precision):
            logits = run(batch)
        return update(cross_entropy(logits.float(), batch.label))

    return step


def their_step(network: PygARPGNet, features: Clips, precision: str) -> Step:
    """Frames as `Data` objects on the device, in float32: GATConv and Linear take no float16."""
    device = features.device
    network = network.to(device).train()
    update = updater(network.parameters())
    params = load_params()
    edge_index = torch.tensor(graph_metadata(params)["edges"], dtype=torch.int64).T
    window = params.fusion.window
    assert window is not None
    clips = []
    for number in range(len(features)):
        clip = features.take(torch.tensor([number], device=device))
        graphs = frame_graphs(
            clip.nodes[0].float().cpu(),
            clip.map_vector[0].float().cpu(),
            clip.visible[0].cpu(),
            edge_index,
        )
        frames = clip_graph(clip.valid[0].cpu(), window)
        clips.append(([graph.to(device) for graph in graphs], frames.to(device)))

    def step(index: Tensor) -> Tensor:
        chosen = [clips[i] for i in index.tolist()]
        frames = Graphs.from_data_list([graph for graphs, _ in chosen for graph in graphs])
        clip_batch = Graphs.from_data_list([clip for _, clip in chosen])
        with autocast(device, precision):
            logits = network(frames, clip_batch)
        return update(cross_entropy(logits.float(), features.label[index]))

    return step


def network_only(network: nn.Module) -> Callable[[Batch], Tensor]:
    return lambda batch: logits_of(network, batch)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def updater(
    parameters: Iterable[nn.Parameter], *, fused: bool | None = None
) -> Callable[[Tensor], Tensor]:
    """Backward pass, gradient clipping and AdamW; returns the loss without its graph."""
    kept = list(parameters)
    # capturable: a step may become part of a CUDA graph
    on_gpu = kept[0].device.type == "cuda"
    optimizer = torch.optim.AdamW(kept, lr=LR, fused=fused, capturable=on_gpu)

    def update(loss: Tensor) -> Tensor:
        loss.backward()
        nn.utils.clip_grad_norm_(kept, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return update


def losses(step: Step, batches: Iterable[Tensor]) -> Tensor:
    """float32 [steps]."""
    return torch.stack([step(index) for index in batches]).cpu()
