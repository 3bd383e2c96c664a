"""What the tasks share whose labels are vectors: action units, intensities, valence and arousal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from arpgnet.pipeline.common.params import TaskParams, TrainParams
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.kinds.base import Kind, Objective
from arpgnet.pipeline.training.labels import Labels, target_labels

# keeps a ratio of sums finite where nothing varies
EPSILON = 1e-8


@dataclass
class TargetKind(Kind):
    """A task on columns of `data/targets.parquet`; `loss` is one of `LOSSES`."""

    loss: str = ""

    # of the columns that it may learn
    pattern: ClassVar[str]

    @classmethod
    def read(cls, params: TaskParams, manifest: Manifest, root: Path) -> tuple[Self, Labels]:
        wanted = [] if params.targets == "auto" else list(params.targets)
        found = target_labels(manifest, root, cls.pattern, wanted)
        return cls(found.names, params.loss_name), found.labels


@dataclass
class ValueKind(TargetKind):
    """A task whose outputs are numbers in a range."""

    probe = "values"
    naive = "mean"

    def problem(self, taught: np.ndarray) -> str:
        flat = taught.reshape(-1, taught.shape[-1])
        for name, column in zip(self.outputs, flat.T, strict=True):
            found = column[~np.isnan(column)]
            if not len(found) or np.ptp(found) == 0:
                return f"of different {name}"
        return ""

    def prior(self, taught: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.nanmean(taught.astype(np.float64), axis=0)
        return mean

    @property
    def _scale(self) -> tuple[float, float]:
        low, high = self.range
        return (low + high) / 2, (high - low) / 2

    def values(self, logits: Tensor) -> Tensor:
        middle, half = self._scale
        return middle + half * logits.tanh()

    def logits(self, values: Tensor) -> Tensor:
        middle, half = self._scale
        # the ends of the range have no finite logit
        return ((values - middle) / half).clamp(-1 + 1e-6, 1 - 1e-6).atanh()

    def objective(self, taught: np.ndarray, params: TrainParams) -> Objective:
        return Concordance(self) if self.loss == "ccc" else SquaredError(self)


class TargetObjective(Objective):
    """A loss whose mean is over annotated values."""

    def weight(self, label: np.ndarray) -> float:
        return float((~np.isnan(label)).sum())


class SquaredError(TargetObjective):
    """Mean squared error over annotated values."""

    def __init__(self, kind: ValueKind) -> None:
        self._kind = kind

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        found = ~label.isnan()
        error = self._kind.values(logits.float()) - label.nan_to_num()
        return (error.square() * found).sum()


class Concordance(TargetObjective):
    """One minus Lin's concordance of each output over a batch (Lin 1989; as a loss Trigeorgis et
    al., ICASSP 2016), averaged over outputs.

    It is no sum over labels: `loss` returns it times the number of annotated values, so that the
    mean over the parts of a batch, which several processes compute, is that of their concordances.
    """

    def __init__(self, kind: ValueKind) -> None:
        self._kind = kind

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        values = self._kind.values(logits.float()).flatten(0, -2)
        target = label.flatten(0, -2)
        found = (~target.isnan()).to(values.dtype)
        target = target.nan_to_num()
        count = found.sum(0).clamp(min=1)

        def mean(value: Tensor) -> Tensor:
            return (value * found).sum(0) / count

        mean_x, mean_y = mean(values), mean(target)
        var_x = mean((values - mean_x).square())
        var_y = mean((target - mean_y).square())
        covariance = mean((values - mean_x) * (target - mean_y))
        spread = var_x + var_y + (mean_x - mean_y).square()
        lost = 1 - 2 * covariance / (spread + EPSILON)
        # an output that the batch does not annotate says nothing
        annotated = found.sum(0)
        return (lost * annotated).sum()


def columns(label: np.ndarray, values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pair each output's labels with its predictions, where both are known: float [n] each."""
    pairs = []
    for true, found in zip(label.T, values.T, strict=True):
        both = ~np.isnan(true) & ~np.isnan(found)
        pairs.append((true[both].astype(np.float64), found[both].astype(np.float64)))
    return pairs
