"""What fine-tuning learns: one class of each still, or which action units it shows.

N stills, B of a batch, K classes or units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.training.kinds.action_units import BinaryCrossEntropy, positive_weights
from arpgnet.pipeline.training.kinds.base import mean_of_known
from arpgnet.pipeline.training.loop import class_weights
from arpgnet.pipeline.training.selection import binary_f1, unweighted_recall


class Objective(ABC):
    """The loss of a run, and the score that selects its epoch."""

    # its name; the history has it as `val_<score>`
    score: str

    @abstractmethod
    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the mean loss of one head's logits [B, K]."""

    @abstractmethod
    def scored(self, logits: Sequence[Tensor], label: Tensor) -> float:
        """Score the mean prediction of all heads, logits [B, K] each."""


class Classes(Objective):
    """Cross-entropy of one class, label int64 [B]; selected by UAR."""

    score = "uar"

    def __init__(
        self, taught: np.ndarray, classes: int, params: FinetuneParams, device: torch.device
    ) -> None:
        counts = np.bincount(taught, minlength=classes).tolist()
        weight = class_weights(counts, params.class_weights)
        self._weight = None if weight is None else weight.to(device)
        self._smoothing = params.label_smoothing

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(
            logits.float(), label, weight=self._weight, label_smoothing=self._smoothing
        )

    def scored(self, logits: Sequence[Tensor], label: Tensor) -> float:
        found = torch.stack(list(logits)).softmax(2).mean(0).argmax(1)
        return unweighted_recall(label.cpu().numpy(), found.cpu().numpy())


class Units(Objective):
    """Cross-entropy of each annotated unit, label float32 [B, K] with NaN; selected by mean F1."""

    score = "f1"

    def __init__(self, taught: np.ndarray, params: FinetuneParams) -> None:
        self._entropy = BinaryCrossEntropy(positive_weights(taught, params.class_weights))

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        # a batch may have no annotation of the units that are learned
        return self._entropy.loss(logits, label) / (~label.isnan()).sum().clamp(min=1)

    def scored(self, logits: Sequence[Tensor], label: Tensor) -> float:
        present = (torch.stack(list(logits)).sigmoid().mean(0) >= 0.5).cpu().numpy()
        known = ~label.isnan().cpu().numpy()
        true = label.cpu().numpy() > 0.5
        columns = range(true.shape[1])
        return mean_of_known(
            [binary_f1(true[known[:, k], k], present[known[:, k], k]) for k in columns]
        )


def make_objective(
    label: np.ndarray, train: np.ndarray, classes: int, params: FinetuneParams, device: torch.device
) -> Objective:
    """Return what a run learns.

    Args:
        label: of every still, int64 [N] or float32 [N, K].
        train: rows that are learned from.
    """
    if label.ndim == 2:
        return Units(label[train], params)
    return Classes(label[train], classes, params, device)
