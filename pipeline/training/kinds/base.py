"""What a task is: `task.kind` chooses a module of this package.

A kind says which labels are read, how many outputs the network has and what its logits mean, the
loss, the score that selects, and the baselines. Everything else (views, branches, fusion, folds,
checkpoints) serves all kinds alike.

Shape letters: U units (clips or frames), K outputs; ... stands for [V] views or [V, T] frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from torch import Tensor

from arpgnet.pipeline.common.params import TaskParams, TrainParams
from arpgnet.pipeline.tables.facs import RANGES
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.labels import Labels

# the linear model that a kind is compared with: one multinomial logistic regression, a logistic
# regression of each output, or a ridge regression of each
Probe = Literal["classes", "binary", "values"]


class Objective(ABC):
    """The loss of one run, with the weights that its training part gives."""

    @abstractmethod
    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Sum the loss over all labels; blank ones have none."""

    @abstractmethod
    def weight(self, label: np.ndarray) -> float:
        """Return what the sum of some labels' losses is divided by to give their mean."""


@dataclass
class Kind(ABC):
    """A task, with the names of its outputs."""

    outputs: list[str]

    name: ClassVar[str]
    # the probes that it is compared with, the name of the baseline without any input
    probe: ClassVar[Probe]
    naive: ClassVar[str]
    # whether a temperature is fitted to its probabilities
    calibrates: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def read(cls, params: TaskParams, manifest: Manifest, root: Path) -> tuple[Self, Labels]:
        """Return the task on a data set, and its labels under `root`.

        Raises:
            UserError: the data has no such labels.
        """

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value of an output."""
        return RANGES[self.name]

    @classmethod
    def trained(cls, outputs: Sequence[str]) -> Self:
        """Return the task of a trained network, without what only learning needs."""
        return cls(list(outputs))

    @abstractmethod
    def select(self, per_frame: bool) -> str:
        """Return the validation score that `train.select: auto` means."""

    @abstractmethod
    def problem(self, taught: np.ndarray) -> str:
        """Say what a training part lacks, as `of class 'fear'`; empty: nothing.

        Args:
            taught: the labels of its views.
        """

    @abstractmethod
    def objective(self, taught: np.ndarray, params: TrainParams) -> Objective:
        """Return the loss of a run that learns from these labels."""

    @abstractmethod
    def values(self, logits: Tensor) -> Tensor:
        """Turn logits [..., K] into what is predicted: probabilities, or values."""

    @abstractmethod
    def logits(self, values: Tensor) -> Tensor:
        """Return logits that give the values, finite ones."""

    @abstractmethod
    def scores(self, label: np.ndarray, values: np.ndarray) -> dict[str, float]:
        """Score predictions [U, K], NaN where there is none; higher is better."""

    @abstractmethod
    def prior(self, taught: np.ndarray) -> np.ndarray:
        """Return what is predicted without looking: float64 [K]."""


def mean_of_known(scores: Sequence[float]) -> float:
    """Average what is defined; 0 where nothing is, so that training can go on."""
    found = [score for score in scores if not np.isnan(score)]
    return float(np.mean(found)) if found else 0.0
