"""Augmentation of cached features, on the training device, without a host sync.

Flipping is an approximation: the regions change places and their coordinates are mirrored, but
each region keeps the features that the CNN computed on the unflipped crop, and so does the
embedding. Averages over the map's cells do not change under a flip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.config import TrainParams
from pipeline.train.data import Features, Statistics


@dataclass(frozen=True)
class Augment:
    """Random changes of a batch.

    Args:
        params: `flip`, `feature_noise` and `frame_drop`.
        mirror: int64 [N], the region that each region becomes in a mirror.
        statistics: the training clips', in whose standard deviations noise is measured.
    """

    params: TrainParams
    mirror: Tensor
    statistics: Statistics

    def __call__(self, batch: Features, generator: torch.Generator) -> Features:
        if self.params.flip:
            batch = self.flip(batch, self._uniform(batch, generator) < self.params.flip)
        if self.params.feature_noise:
            batch = self.noise(batch, generator)
        if self.params.frame_drop:
            batch = self.drop_frames(batch, generator)
        return batch

    def flip(self, batch: Features, chosen_B: Tensor) -> Features:
        """Mirror the chosen clips' region graphs left to right."""
        order_BN = torch.where(
            chosen_B[:, None],
            self.mirror,
            torch.arange(len(self.mirror), device=chosen_B.device),
        )
        clip_B1 = torch.arange(len(chosen_B), device=chosen_B.device)[:, None]

        def permute(value: Tensor) -> Tensor:
            # [B, N, T, ...] after indexing two axes around a slice: put time back in front
            return value[clip_B1, :, order_BN].transpose(1, 2)

        xy = permute(batch.node_xy)
        flipped_xy = torch.stack([1 - xy[..., 0], xy[..., 1]], dim=-1)
        return replace(
            batch,
            nodes=permute(batch.nodes),
            visible=permute(batch.visible),
            node_xy=torch.where(chosen_B[:, None, None, None], flipped_xy, xy),
        )

    def noise(self, batch: Features, generator: torch.Generator) -> Features:
        """Gaussian noise of `feature_noise` standard deviations of each channel.

        It is drawn once a clip and shared by its frames: it stands for what differs between
        faces, which does not flicker, and costs a T-th of the random numbers.
        """

        def noisy(value: Tensor, std: Tensor) -> Tensor:
            shape = (value.shape[0], 1, *value.shape[2:])
            drawn = torch.randn(shape, generator=generator, device=value.device)
            return value + drawn * (std * self.params.feature_noise)

        return replace(
            batch,
            embedding=noisy(batch.embedding, self.statistics.embedding[1]),
            map_vector=noisy(batch.map_vector, self.statistics.map_vector[1]),
            nodes=noisy(batch.nodes, self.statistics.nodes[1]),
        )

    def drop_frames(self, batch: Features, generator: torch.Generator) -> Features:
        """Hide each frame with probability `frame_drop`; a clip never loses all of them."""
        valid_BT = batch.valid
        drawn = torch.rand(valid_BT.shape, generator=generator, device=valid_BT.device)
        kept_BT = valid_BT & (drawn >= self.params.frame_drop)
        return replace(batch, valid=torch.where(kept_BT.any(1, keepdim=True), kept_BT, valid_BT))

    @staticmethod
    def _uniform(batch: Features, generator: torch.Generator) -> Tensor:
        return torch.rand(len(batch), generator=generator, device=batch.device)
