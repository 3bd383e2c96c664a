"""A fine-tuning run in the store: a finished one is never run twice, a killed one goes on.

Safetensors, no pickle; what is not a tensor is JSON in the file's metadata.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from pipeline.finetune.fit import State
from pipeline.store import Store

FINISHED = "finetune"
UNFINISHED = "finetune-checkpoint"
METADATA = "arpgnet"


@dataclass(frozen=True)
class KeptTuning:
    """One run's place in the store; `key` is a digest of all that decides its result."""

    store: Store
    key: str

    def finished(self, weights: Path) -> dict[str, Any] | None:
        """Put a finished run's weights at `weights`; what was kept about it, or None."""
        if not self.store.get_file(FINISHED, self.key, weights):
            return None
        return _facts(weights)

    def finish(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Keep a finished run and forget its checkpoint."""
        # one key: several would be written in an order that changes from run to run
        metadata = {METADATA: json.dumps(facts, sort_keys=True)}
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._put(FINISHED, lambda path: save_arrays(plain, path, metadata=metadata))
        self.store.remove(UNFINISHED, self.key, "file")

    def checkpoint(self) -> State | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            return _read_state(path) if self.store.get_file(UNFINISHED, self.key, path) else None

    def save_checkpoint(self, state: State) -> None:
        self._put(UNFINISHED, lambda path: _write_state(path, state))

    def _put(self, room: str, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            write(path)
            self.store.put_file(room, self.key, path)


def _write_state(path: Path, state: State) -> None:
    tensors: dict[str, Tensor] = {f"weights/{n}": value for n, value in state.weights.items()}
    tensors |= {f"best/{name}": value for name, value in state.best_weights.items()}
    for number, parts in state.optimizer.items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in parts.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    facts = json.dumps({"history": state.history, "best": state.best}, sort_keys=True)
    save_file(plain, path, metadata={METADATA: facts})


def _read_state(path: Path) -> State:
    facts = _facts(path)
    state = State({}, history=facts["history"], best=facts["best"])
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            kind, rest = name.split("/", 1)
            value = file.get_tensor(name)
            if kind == "weights":
                state.weights[rest] = value
            elif kind == "best":
                state.best_weights[rest] = value
            else:
                number, part = rest.split("/")
                state.optimizer.setdefault(int(number), {})[part] = value
    return state


def _facts(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        facts: dict[str, Any] = json.loads(file.metadata()[METADATA])
    return facts
