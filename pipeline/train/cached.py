"""Runs and baselines in the store: never computed twice; a killed run continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from arpgnet.pipeline.training.state import CachedState, Weights, read_tensors, write_tensors

# the name of each of a fold's baselines, and its probabilities of the test units, float64 [U, K]
Fitted = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Outcome:
    """A finished run: the selected weights, its history (`best` is the selected epoch), and its
    probabilities, float32 [units, K], of the validation and test units."""

    weights: Weights
    history: list[dict[str, float]]
    best: int
    val: np.ndarray
    test: np.ndarray


class CachedRun(CachedState):
    """The entry of a training run in the store."""

    FINISHED: ClassVar[str] = "train"
    UNFINISHED: ClassVar[str] = "train-checkpoint"

    def finished(self) -> Outcome | None:
        found = self._get(self.FINISHED, read_tensors)
        if found is None:
            return None
        tensors, info = found
        val, test = (tensors.pop(f"probabilities/{part}").numpy() for part in ("val", "test"))
        weights = {name.removeprefix("weights/"): value for name, value in tensors.items()}
        return Outcome(weights, info["history"], info["best"], val, test)

    def finish(self, outcome: Outcome) -> None:
        """Store a finished run and remove its checkpoint."""
        tensors = {f"weights/{name}": value for name, value in outcome.weights.items()}
        tensors["probabilities/val"] = torch.from_numpy(outcome.val)
        tensors["probabilities/test"] = torch.from_numpy(outcome.test)
        info = {"history": outcome.history, "best": outcome.best}
        self._finish(lambda path: write_tensors(path, tensors, info))


class CachedBaselines(CachedState):
    """The entry of a fold's baselines in the store."""

    FINISHED: ClassVar[str] = "baselines"

    def finished(self) -> Fitted | None:
        found = self._get(self.FINISHED, read_tensors)
        if found is None:
            return None
        tensors, info = found
        return [(name, tensors[name].numpy()) for name in info["names"]]

    def finish(self, fitted: Fitted) -> None:
        """Store what was fitted."""
        tensors = {name: torch.from_numpy(probabilities) for name, probabilities in fitted}
        info = {"names": [name for name, _ in fitted]}
        self._put(self.FINISHED, lambda path: write_tensors(path, tensors, info))
