"""`task.kind: expression`: one class of a few."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams, TrainParams
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.kinds.base import Kind, Objective
from arpgnet.pipeline.training.labels import Labels, class_counts, class_labels
from arpgnet.pipeline.training.loop import class_weights
from arpgnet.pipeline.training.selection import macro_f1, unweighted_recall


class CrossEntropy(Objective):
    """Cross-entropy with class weights and label smoothing.

    Args:
        weight: float32 [K], or None.
    """

    def __init__(self, weight: Tensor | None, classes: int, smoothing: float) -> None:
        self._weight, self._smoothing = weight, smoothing
        self._weight_of = np.ones(classes) if weight is None else weight.numpy()

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        if self._weight is not None:
            self._weight = self._weight.to(logits.device)
        return cross_entropy(
            logits.float().flatten(0, -2),
            label.flatten(),
            weight=self._weight,
            label_smoothing=self._smoothing,
            ignore_index=-1,
            reduction="sum",
        )

    def weight(self, label: np.ndarray) -> float:
        return float(self._weight_of[label[label >= 0]].sum())


@dataclass
class Expression(Kind):
    name = "expression"
    probe = "classes"
    naive = "majority"
    calibrates = True

    @classmethod
    def read(cls, params: TaskParams, manifest: Manifest, root: Path) -> tuple[Self, Labels]:
        if not manifest.classes:
            raise UserError(
                f"task.kind: {cls.name} needs classes, and no clip of {manifest.dataset} has one: "
                "see docs/tasks.md for the other tasks"
            )
        return cls(manifest.classes), class_labels(manifest, root)

    def select(self, per_frame: bool) -> str:
        return "macro_f1" if per_frame else "uar"

    def problem(self, taught: np.ndarray) -> str:
        counts = class_counts(taught, len(self.outputs))
        empty = [name for name, count in zip(self.outputs, counts, strict=True) if not count]
        return f"of class {empty[0]!r}" if empty else ""

    def objective(self, taught: np.ndarray, params: TrainParams) -> Objective:
        classes = len(self.outputs)
        weight = class_weights(class_counts(taught, classes), params.class_weights)
        return CrossEntropy(weight, classes, params.label_smoothing)

    def values(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def logits(self, values: Tensor) -> Tensor:
        # a probability that is 0 in float32 must not make the loss infinite
        return values.clamp(min=1e-12).log()

    def scores(self, label: np.ndarray, values: np.ndarray) -> dict[str, float]:
        known = ~np.isnan(values).any(axis=1)
        predicted = np.where(known, np.nan_to_num(values).argmax(axis=1), -1)
        return {
            "uar": unweighted_recall(label, predicted),
            "macro_f1": macro_f1(label, predicted),
        }

    def prior(self, taught: np.ndarray) -> np.ndarray:
        share: np.ndarray = np.bincount(taught, minlength=len(self.outputs)) / len(taught)
        return share
