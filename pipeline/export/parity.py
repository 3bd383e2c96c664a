"""Compare the exported graph with its network on random inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.models.fusion import BAND_FRAMES
from arpgnet.models.inputs import Standardize
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.export.traceable import ARGUMENTS, input_names, outputs_of
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.training.kinds.base import Kind

# on logits as on probabilities; float32 rounding alone gives about 1e-6
TOLERANCE = 1e-4
HIDDEN = 0.25  # fraction of frames and of regions that a trial hides
# clips x frames: one image; a batch; and, where the network allows, beyond one band of the fusion
TRIALS = ((1, 1), (3, 7), (2, 16), (2, BAND_FRAMES + 7))


def longest(network: ARPGNet) -> int | None:
    """Return the most frames a clip may have: the length of a learned position table, or None."""
    fusion = network.config.fusion
    return fusion.max_frames if fusion.attends and fusion.position == "learned" else None


def trials(network: ARPGNet) -> Iterator[dict[str, Tensor]]:
    """Yield random inputs of several batch sizes and lengths, with hidden frames and regions."""
    generator = torch.Generator().manual_seed(0)
    most = longest(network)
    for clips, frames in TRIALS:
        yield random_inputs(network, clips, min(frames, most or frames), generator)


def random_inputs(
    network: ARPGNet, clips: int, frames: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw inputs with the mean and scale of the network's training features, by graph name."""
    config = network.config
    relates = "relation" in config.fusion.streams
    # of two views without regions: any number of them
    regions = len(network.relation.get_buffer("adjacency_NN")) if relates else 5
    node_scale = "relation.node_scale" if relates else "appearance.tokens.nodes_scale"

    def features(where: str, *shape: int) -> Tensor:
        values = torch.randn(clips, frames, *shape, generator=generator)
        module = dict(network.named_modules())[where]
        assert isinstance(module, Standardize)
        scale = module.get_buffer("scale")
        alive = scale != 0
        return torch.where(
            alive, (values - module.get_buffer("shift")) / torch.where(alive, scale, 1.0), values
        )

    def shown(*shape: int) -> Tensor:
        return torch.rand(clips, frames, *shape, generator=generator) >= HIDDEN

    makers = {
        "embedding": lambda: features("appearance.embedding_scale", config.embedding_dim),
        "map_vector": lambda: features("appearance.map_scale", config.map_channels),
        "nodes": lambda: features(node_scale, regions, config.map_channels),
        "node_xy": lambda: torch.rand(clips, frames, regions, 2, generator=generator),
        "visible": lambda: shown(regions),
        "valid": lambda: shown(),
        "parts_embedding": lambda: features(
            "appearance.parts_embedding_scale", config.embedding_dim
        ),
        "parts_map_vector": lambda: features("appearance.parts_map_scale", config.map_channels),
        "parts_cells": lambda: features("appearance.tokens.cells_scale", 4, config.map_channels),
    }
    return {name: makers[name]() for name in input_names(network)}


def largest_difference(
    network: ARPGNet, kind: Kind, graph: Path | bytes, further: Sequence[Kind] = ()
) -> float:
    """Compute the largest difference of any output in any trial.

    Raises:
        UserError: ONNX Runtime cannot run the graph.
    """
    session = make_session(graph)
    worst = 0.0
    for inputs in trials(network):
        with torch.no_grad():
            out = network(**{ARGUMENTS[name]: value for name, value in inputs.items()})
        names, expected = zip(*outputs_of(out, kind, further), strict=True)
        given = {name: value.numpy() for name, value in inputs.items()}
        found = session.run(names, given)
        for ours, theirs in zip(expected, found, strict=True):
            gap = np.abs(ours.numpy() - theirs).max()
            worst = max(worst, float("inf") if np.isnan(gap) else float(gap))
    return worst


def check_parity(
    network: ARPGNet, kind: Kind, graph: Path | bytes, further: Sequence[Kind] = ()
) -> float:
    """Check that `largest_difference` is within `TOLERANCE`, and return it.

    Raises:
        UserError: the two differ by more.
    """
    worst = largest_difference(network, kind, graph, further)
    if worst > TOLERANCE:
        raise UserError(
            f"the exported graph differs from the network by {worst:.1e}, more than "
            f"{TOLERANCE:g}: nothing was written"
        )
    return worst
