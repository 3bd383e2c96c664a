"""`task.kind: action_units`: which action units a face shows, each present or absent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from arpgnet.pipeline.common.params import TaskParams, TrainParams
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.kinds.base import Objective, mean_of_known
from arpgnet.pipeline.training.kinds.targets import TargetKind, TargetObjective, columns
from arpgnet.pipeline.training.labels import Labels
from arpgnet.pipeline.training.selection import binary_f1


def positive_weights(taught: np.ndarray, kind: str) -> np.ndarray:
    """Weigh a unit's presence against its absence: float64 [K].

    Args:
        taught: labels [..., K], NaN for none.
        kind: `none`: 1; `balanced`: how often it is absent for each time that it is present;
            `sqrt`: the root of that.
    """
    flat = taught.reshape(-1, taught.shape[-1])
    present = np.maximum(np.nansum(flat, axis=0), 1)
    absent = np.maximum((~np.isnan(flat)).sum(axis=0) - present, 1)
    if kind == "none":
        return np.ones(len(present))
    ratio: np.ndarray = absent / present
    return ratio if kind == "balanced" else np.sqrt(ratio)


def rarity_weights(taught: np.ndarray, kind: str) -> np.ndarray:
    """Weigh units by how rarely they are present, with a mean of 1: float64 [K].

    `balanced` is that of Luo et al. (IJCAI 2022, arXiv 2205.01782): inverse to the rate of
    presence; `sqrt`: to its root.
    """
    if kind == "none":
        return np.ones(taught.shape[-1])
    rate = np.nanmean(taught.reshape(-1, taught.shape[-1]), axis=0)
    weight = np.maximum(rate, 1e-6) ** (-1.0 if kind == "balanced" else -0.5)
    scaled: np.ndarray = weight * len(weight) / weight.sum()
    return scaled


class BinaryCrossEntropy(TargetObjective):
    """Cross-entropy of each annotated unit, where presence has `positive` times the weight."""

    def __init__(self, positive: np.ndarray) -> None:
        self._positive = torch.from_numpy(positive).float()

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        self._positive = self._positive.to(logits.device)
        each = binary_cross_entropy_with_logits(
            logits.float(), label.nan_to_num(), pos_weight=self._positive, reduction="none"
        )
        return (each * ~label.isnan()).sum()


class Asymmetric(TargetObjective):
    """The weighted asymmetric loss of Luo et al. (arXiv 2205.01782).

    The cross-entropy of an absent unit is multiplied by its probability, so that the many easy
    absences count little; each unit has a weight.
    """

    def __init__(self, weight: np.ndarray) -> None:
        self._weight = torch.from_numpy(weight).float()

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        logits = logits.float()
        self._weight = self._weight.to(logits.device)
        target = label.nan_to_num()
        present = target * logsigmoid(logits)
        absent = (1 - target) * logits.sigmoid() * logsigmoid(-logits)
        return -((present + absent) * self._weight * ~label.isnan()).sum()


class WithRelations(Objective):
    """A loss of single units, and a term on their pairs (ABRNet's AU relation loss) [DEFAULT].

    The term is the mean squared difference between how often two units are present together in
    the batch, as predicted (the mean product of their probabilities) and as annotated, over pairs
    that are annotated together. As `Concordance`, it is returned times the number of labels.
    """

    def __init__(self, single: Objective, weight: float) -> None:
        self._single, self._weight = single, weight

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        pairs = relation_term(logits.float().flatten(0, -2), label.flatten(0, -2))
        count = (~label.isnan()).sum()
        return self._single.loss(logits, label) + self._weight * pairs * count

    def weight(self, label: np.ndarray) -> float:
        return self._single.weight(label)


def relation_term(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean squared difference of predicted and annotated co-occurrence.

    Args:
        logits, label: [U, A]; NaN for what is not annotated.
    """
    known = (~label.isnan()).to(logits.dtype)
    probability, target = logits.sigmoid() * known, label.nan_to_num()
    together = known.T @ known
    count = together.clamp(min=1)
    gap = (probability.T @ probability - target.T @ target) / count
    others = ~torch.eye(label.shape[1], dtype=torch.bool, device=label.device)
    counted = (together > 0) & others
    return (gap.square() * counted).sum() / counted.sum().clamp(min=1)


@dataclass
class ActionUnits(TargetKind):
    relation_loss: float = 0.0

    name = "action_units"
    pattern = r"au_\d+"
    probe = "binary"
    naive = "prevalence"

    @classmethod
    def read(cls, params: TaskParams, manifest: Manifest, root: Path) -> tuple[Self, Labels]:
        kind, labels = super().read(params, manifest, root)
        return replace(kind, relation_loss=params.relation_loss), labels

    def select(self, per_frame: bool) -> str:
        return "f1"

    def problem(self, taught: np.ndarray) -> str:
        flat = taught.reshape(-1, taught.shape[-1])
        for value, word in ((1, "with"), (0, "without")):
            lacking = [
                name
                for name, column in zip(self.outputs, flat.T, strict=True)
                if not (column == value).any()
            ]
            if lacking:
                them = "it" if len(lacking) == 1 else "them"
                return f"{word} {', '.join(lacking)} (leave {them} out of task.targets)"
        return ""

    def objective(self, taught: np.ndarray, params: TrainParams) -> Objective:
        single: Objective = BinaryCrossEntropy(positive_weights(taught, params.class_weights))
        if self.loss == "asymmetric":
            single = Asymmetric(rarity_weights(taught, params.class_weights))
        return WithRelations(single, self.relation_loss) if self.relation_loss else single

    def values(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def logits(self, values: Tensor) -> Tensor:
        return values.clamp(1e-6, 1 - 1e-6).logit()

    def scores(self, label: np.ndarray, values: np.ndarray) -> dict[str, float]:
        """F1 of each unit at 0.5, averaged over those that are present at all."""
        pairs = columns(label, values)
        return {"f1": mean_of_known([binary_f1(true > 0.5, found > 0.5) for true, found in pairs])}

    def prior(self, taught: np.ndarray) -> np.ndarray:
        rate: np.ndarray = np.nanmean(taught.astype(np.float64), axis=0)
        return rate
