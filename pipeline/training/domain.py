"""How unlike a network's training clips a face is: a small density of what the network is shown.

A Gaussian with few directions of its own and the same variance in all others (probabilistic
principal components, Tipping & Bishop 1999), of the mean embedding and the mean feature map over
the frames of a view. Distances from it are read against those of the validation part, which it has
not seen: a clip of the training part is always nearer.

Shape letters: U views, F features, M views of the validation part, Q directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from arpgnet.pipeline.training.features import Features

# directions that together have this part of the variance are described, and at most so many
VARIANCE, MOST_DIRECTIONS = 0.95, 32
# views of a part that are read: more change the description by less than another split does
MOST_VIEWS = 2000
# the part of the validation views that lies within the limit; of fewer than `FEW` views, which do
# not show where that is, the limit is `FACTOR` times their largest distance
WITHIN, FEW, FACTOR = 0.95, 20, 2.0
# more than this part of the views beyond the limit: the domain differs
MANY = 0.5
PREFIX = "domain/"


@dataclass(frozen=True)
class Domain:
    """The description.

    Attributes:
        mean, scale: float64 [F], of the training part's views; `scale` is 1 / standard deviation,
            0 for a constant feature.
        directions: float64 [F, Q], orthogonal, in standardized features.
        variance: float64 [Q].
        rest: float64 [1], the variance of each other direction.
        known: float64 [M], the validation part's distances, rising.
        limit: float64 [1], the distance from which on a view is unlike the training clips.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    variance: Tensor
    rest: Tensor
    known: Tensor
    limit: Tensor

    @classmethod
    def of(cls, train: Tensor, val: Tensor) -> Domain:
        """Describe float64 [U, F] views of the training part, NaN for one without a face."""
        train, val = (part[~part.isnan().any(1)] for part in (train, val))
        mean, std = train.mean(0), train.std(0, correction=0)
        scale = torch.where(std > 1e-6 * mean.abs() + 1e-9, 1 / std, 0.0)
        values, vectors = torch.linalg.svd((train - mean) * scale, full_matrices=False)[1:]
        variance = values.square() / len(train)
        parts = variance.cumsum(0) / variance.sum().clamp(min=1e-12)
        count = min(MOST_DIRECTIONS, max(1, int((parts < VARIANCE).sum())))
        left = max(1, int((scale > 0).sum()) - count)
        # a training part without any variance left has nothing to divide by
        rest = (variance[count:].sum() / left).clamp(min=1e-6)
        zeros = torch.zeros(0, dtype=torch.float64)
        found = cls(
            mean, scale, vectors[:count].T, variance[:count] + rest, rest[None], zeros, zeros
        )
        known = found.distance(val).sort().values
        limit = torch.tensor([torch.inf], dtype=torch.float64)
        if len(known):
            limit = FACTOR * known[-1:] if len(known) < FEW else known.quantile(WITHIN)[None]
        return replace(found, known=known, limit=limit)

    def distance(self, inputs: Tensor) -> Tensor:
        """Return float64 [U], 1 on average in the training part; NaN for a view without a face."""
        x = (inputs - self.mean) * self.scale
        along = x @ self.directions
        beside = (x.square().sum(1) - along.square().sum(1)).clamp(min=0)
        squares = (along.square() / self.variance).sum(1) + beside / self.rest
        return (squares / int((self.scale > 0).sum())).sqrt()

    def percentile(self, distance: Tensor) -> Tensor:
        """Return which part of the validation views is nearer, float64 in 0..1."""
        place = torch.searchsorted(self.known, distance.double())
        return place.double() / max(1, len(self.known))

    def beyond(self, distance: Tensor) -> Tensor:
        """Check which distances are beyond the limit, bool [U]."""
        return distance > self.limit

    def fraction_beyond(self, distance: Tensor) -> float | None:
        """Return which part of the views is beyond the limit; None: no view shows a face."""
        known = distance[~distance.isnan()]
        return self.beyond(known).double().mean().item() if len(known) else None

    def tensors(self) -> dict[str, Tensor]:
        """Return it by name, for the file of the network."""
        return {f"{PREFIX}{name}": value.contiguous() for name, value in vars(self).items()}


def domain_of(tensors: Mapping[str, Tensor]) -> Domain | None:
    """Return the description among a file's tensors; None where an older version wrote it."""
    own = {name.removeprefix(PREFIX): x for name, x in tensors.items() if name.startswith(PREFIX)}
    return Domain(**own) if own else None


def view_means(features: Features, rows: np.ndarray) -> Tensor:
    """Return mean embedding and mean feature map of each view's frames with a face: float64 [U, F].

    NaN for a view without a face.

    Args:
        rows: int64 [U, T], -1 where there is no frame.
    """
    parts = []
    for part in torch.from_numpy(rows).split(64):
        index = part.clamp(min=0)
        seen = (features.valid[index] & (part >= 0)).double()
        weight = (seen / seen.sum(1, keepdim=True))[:, None]
        both = torch.cat([features.embedding[index], features.map_vector[index]], -1)
        parts.append((weight @ both.double()).squeeze(1))
    width = features.embedding.shape[1] + features.map_vector.shape[1]
    return torch.cat(parts) if parts else torch.zeros(0, width, dtype=torch.float64)
