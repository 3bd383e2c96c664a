"""Runs in the store: a finished one is never trained twice, a killed one goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.store import Store
from pipeline.train.checkpoints import read_state, read_tensors, write_state, write_tensors
from pipeline.train.fit import State, Weights

FINISHED = "train"
UNFINISHED = "train-checkpoint"


@dataclass(frozen=True)
class Outcome:
    """A finished run: the selected weights, its course (`best` is the selected epoch), and its
    probabilities, float32 [clips, K], of the validation and test clips."""

    weights: Weights
    history: list[dict[str, float]]
    best: int
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class KeptRun:
    """One run's place in the store; `key` is a digest of all that decides its result."""

    store: Store
    key: str

    def finished(self) -> Outcome | None:
        found = self._get(FINISHED, read_tensors)
        if found is None:
            return None
        tensors, info = found
        val, test = (tensors.pop(f"probabilities/{part}").numpy() for part in ("val", "test"))
        weights = {name.removeprefix("weights/"): value for name, value in tensors.items()}
        return Outcome(weights, info["history"], info["best"], val, test)

    def finish(self, outcome: Outcome) -> None:
        """Keep a finished run and forget its checkpoint."""
        tensors = {f"weights/{name}": value for name, value in outcome.weights.items()}
        tensors["probabilities/val"] = torch.from_numpy(outcome.val)
        tensors["probabilities/test"] = torch.from_numpy(outcome.test)
        info = {"history": outcome.history, "best": outcome.best}
        self._put(FINISHED, lambda path: write_tensors(path, tensors, info))
        self.store.remove(UNFINISHED, self.key, "file")

    def checkpoint(self) -> State | None:
        return self._get(UNFINISHED, read_state)

    def save_checkpoint(self, state: State) -> None:
        self._put(UNFINISHED, lambda path: write_state(path, state))

    def _get(self, room: str, read: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.safetensors"
            return read(path) if self.store.get_file(room, self.key, path) else None

    def _put(self, room: str, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.safetensors"
            write(path)
            self.store.put_file(room, self.key, path)
