"""Augmentation of cached features, on the training device, without a host sync.

Flipping is an approximation: the regions change places and their coordinates are mirrored, but
each region keeps the features that the CNN computed on the unflipped crop, and so does the
embedding. Averages over the map's cells do not change under a flip, nor does what is read from the
cells of a second view, whose order counts nowhere.

The random numbers of a batch are drawn for the whole of it, also by a process that computes a part
of it alone: several processes then do to a clip what one would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.features import DESCRIBED, Batch, Statistics

# the noise of most sets, and up to how many training examples it was measured (docs/training.md)
MOST_NOISE = 1.5
MEASURED = 1800


def noise_of(params: TrainParams, examples: int) -> float:
    """Return the noise of `feature_noise`, in standard deviations.

    `auto`: noise acts as an L2 penalty does, with its variance in place of the penalty's weight
    (Bishop 1995, doi 10.1162/neco.1995.7.1.108). A prior weighs n times less beside n examples:
    beyond what was measured the variance falls with their number, and the noise with its root.

    Args:
        examples: training clips, or windows of labeled frames.
    """
    if params.feature_noise != "auto":
        return params.feature_noise
    return MOST_NOISE * min(1.0, (MEASURED / examples) ** 0.5)


@dataclass(frozen=True)
class Draws:
    """Random numbers of B clips of T frames; None where the setting is off.

    Shapes: flip bool [B]; embedding [B, 1, E], map_vector [B, 1, C] and nodes [B, 1, N, C] of a
    standard normal, and those of a second view; hidden bool [B, T], frames to hide.
    """

    flip: Tensor | None = None
    embedding: Tensor | None = None
    map_vector: Tensor | None = None
    nodes: Tensor | None = None
    hidden: Tensor | None = None
    parts_embedding: Tensor | None = None
    parts_map: Tensor | None = None
    parts_cells: Tensor | None = None

    def part(self, clips_B: Tensor) -> Draws:
        """Return those of some of the clips, int64."""
        values = {name: value[clips_B] for name, value in vars(self).items() if value is not None}
        return Draws(**values)


@dataclass(frozen=True)
class Augment:
    """Random changes of a batch.

    Args:
        params: `flip` and `frame_drop`.
        mirror: int64 [N], the region that each region becomes in a mirror.
        statistics: the training clips', in whose standard deviations noise is measured.
        feature_noise: of `noise_of`.
        cells: S, of the map.
    """

    params: TrainParams
    mirror: Tensor
    statistics: Statistics
    feature_noise: float
    cells: int = 0

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> Draws:
        """Return what happens to a batch.

        Noise is drawn once per clip and shared by its frames: it stands for what differs between
        faces, which does not flicker, and costs a T-th of the random numbers.
        """
        device = self.mirror.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        def normal(std: Tensor) -> Tensor | None:
            if not self.feature_noise:
                return None
            return torch.randn((clips, 1, *std.shape), generator=generator, device=device)

        std, regions = self.statistics, len(self.mirror)
        drops = self.params.frame_drop
        return Draws(
            flip=uniform(clips) < self.params.flip if self.params.flip else None,
            embedding=normal(std.embedding[1]),
            map_vector=normal(std.map_vector[1]),
            nodes=normal(std.nodes[1].expand(regions, -1)),
            hidden=uniform(clips, frames) < drops if drops else None,
            # last: the numbers of a single view stay what they were
            parts_embedding=normal(std.parts_embedding[1]) if std.parts_embedding else None,
            parts_map=normal(std.parts_map[1]) if std.parts_map else None,
            parts_cells=normal(std.parts_cells[1].expand(self.cells, -1))
            if std.parts_cells
            else None,
        )

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the changed batch; `draws` are of its clips."""
        if draws.flip is not None:
            batch = self.flip(batch, draws.flip)
        if draws.nodes is not None:
            batch = self.noise(batch, draws)
        if draws.hidden is not None:
            batch = self.hide(batch, draws.hidden)
        return batch

    def flip(self, batch: Batch, chosen_B: Tensor) -> Batch:
        """Mirror the chosen clips' region graphs left to right."""
        order_BN = torch.where(
            chosen_B[:, None],
            self.mirror,
            torch.arange(len(self.mirror), device=chosen_B.device),
        )
        clips, frames, regions = batch.visible.shape
        start = (
            torch.arange(clips * frames, device=chosen_B.device).view(clips, frames, 1) * regions
        )
        row = (start + order_BN[:, None]).flatten()

        def permute(value: Tensor) -> Tensor:
            # whole rows, where `value[clip_B1, :, order_BN]` takes single numbers: 0.3 ms, not 2.7
            return value.flatten(0, 2).index_select(0, row).view(value.shape)

        xy = permute(batch.node_xy)
        flipped_xy = torch.stack([1 - xy[..., 0], xy[..., 1]], dim=-1)
        return replace(
            batch,
            nodes=permute(batch.nodes),
            visible=permute(batch.visible),
            node_xy=torch.where(chosen_B[:, None, None, None], flipped_xy, xy),
        )

    def noise(self, batch: Batch, draws: Draws) -> Batch:
        """Return gaussian noise of `feature_noise` standard deviations of each channel."""

        tensors, drawn, std = batch.tensors(), vars(draws), vars(self.statistics)
        noisy = {
            name: tensors[name] + drawn[name] * (std[name][1] * self.feature_noise)
            for name in DESCRIBED
            if name in tensors
        }
        return replace(batch, **noisy)

    def hide(self, batch: Batch, hidden_BT: Tensor) -> Batch:
        """Hide frames; a clip never loses all of them."""
        kept_BT = batch.valid & ~hidden_BT
        kept_BT = torch.where(kept_BT.any(1, keepdim=True), kept_BT, batch.valid)
        return replace(batch, valid=kept_BT)
