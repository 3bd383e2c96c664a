"""Hide a region from the network and measure the effect on the class it has predicted, or on every
target.

In the region graph a hidden region is invisible, like one that lies outside the image: no other
region attends to it and the readout skips it. Where the appearance branch reads the map's mean and
the regions divide the map evenly (a grid), the region's share of that mean is replaced too, by the
mean of the same region over the explained frames; an embedding cannot be decomposed like that. A
branch of two views is left alone: its second one shows most regions again, enlarged.

Shape letters: B views, T frames, N regions, C map channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.training.features import Batch
from arpgnet.pipeline.training.network import run_network


def probabilities(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return those of classes, float64 [B, K]; if frames are labeled, the mean over the valid ones
    of a view."""
    return predictions(outputs, batch, lambda logits: logits.softmax(-1), batch.label.ndim > 1)


def predictions(
    outputs: Mapping[str, Tensor],
    batch: Batch,
    values: Callable[[Tensor], Tensor],
    of_frames: bool,
) -> Tensor:
    """Return what is predicted, float64 [B, K]; of labeled frames the mean over the valid ones.

    Args:
        values: makes predictions of logits.
    """
    if not of_frames:
        return values(outputs["logits_BK"].double())
    weight_BT1 = batch.valid[..., None] / batch.valid.sum(1)[:, None, None].clamp(min=1)
    return (values(outputs["frame_logits_BTK"].double()) * weight_BT1).sum(1)


def can_hide(network: ARPGNet, pooling: Sequence[Sequence[float]] | None) -> list[str]:
    """List the branches from which a region can be hidden: `relation`, `appearance`.

    Args:
        pooling: weights [N, cells] that all frames share, or None.
    """
    config = network.config
    found = [name for name in config.fusion.streams if name == "relation"]
    if "appearance" not in config.fusion.streams or config.appearance_vector != "map":
        return found
    if config.views is not None:
        # a region that is hidden from the face is still seen among its enlarged parts
        return found
    if pooling is not None:
        weights = np.asarray(pooling)
        # every cell has the same total weight: the mean over regions is the mean over cells
        if np.allclose(weights.sum(0), len(weights) / weights.shape[1]):
            found.append("appearance")
    return found


def without(batch: Batch, region: int, mean_NC: Tensor, branches: Sequence[str]) -> Batch:
    """Return the batch with one region hidden.

    Args:
        mean_NC: what the region's features are replaced by in the appearance branch.
        branches: of `can_hide`.
    """
    hidden = batch
    if "relation" in branches:
        visible = batch.visible.clone()
        visible[..., region] = False
        hidden = replace(hidden, visible=visible)
    if "appearance" in branches:
        change = (mean_NC[region] - batch.nodes[..., region, :].float()) / len(mean_NC)
        hidden = replace(hidden, map_vector=batch.map_vector.float() + change)
    return hidden


def drops(
    network: ARPGNet,
    batch: Batch,
    predicted_B: Tensor,
    *,
    mean: Tensor,
    regions: Sequence[int],
    branches: Sequence[str],
) -> np.ndarray:
    """Compute the drop in the predicted class's probability without each region: float64 [B, N].

    Below 0 where the class becomes more probable; exactly 0 for a region that is invisible already
    in every valid frame, where the appearance branch is left alone.

    Args:
        predicted_B: int64, the class.
        mean: [N, C], see `without`.
        regions: the ones to hide; NaN for others.
        branches: see `without`; where there are none all is NaN.
    """
    found_BKN = changes(
        network, batch, probabilities, mean=mean, regions=regions, branches=branches
    )
    place_B1N = predicted_B[:, None, None].expand(-1, 1, len(mean))
    return found_BKN.gather(1, place_B1N)[:, 0].numpy()


def changes(
    network: ARPGNet,
    batch: Batch,
    predicted: Callable[[Mapping[str, Tensor], Batch], Tensor],
    *,
    mean: Tensor,
    regions: Sequence[int],
    branches: Sequence[str],
) -> Tensor:
    """Compute how much lower every prediction is without each region: float64 [B, K, N].

    Args:
        predicted: makes predictions [B, K] of a network's outputs.
        mean, regions, branches: see `drops`.
    """
    outputs = network.config.num_classes
    found = torch.full((len(batch), outputs, len(mean)), torch.nan, dtype=torch.float64)
    if not branches:
        return found
    before_BK = predicted(run_network(network, batch), batch)
    for region in regions:
        hidden = without(batch, region, mean, branches)
        found[..., region] = before_BK - predicted(run_network(network, hidden), hidden)
    return found
