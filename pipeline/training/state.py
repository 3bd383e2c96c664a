"""What a training run carries from one epoch to the next, and where it lies in the store.

Files are safetensors; no pickle is ever loaded. What is not a tensor is JSON in the file's
metadata, under one key, because several would be written in an order that changes from run to run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.store import Store

METADATA = "arpgnet"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors (moved to the CPU) and JSON-able metadata; same input, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, path, metadata={METADATA: json.dumps(info, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` has written.

    Raises:
        UserError: the file is absent, damaged, or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()[METADATA])
    except (FileNotFoundError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a trained network of ours ({error}): run `dvc repro train`"
        ) from None


def read_info(path: Path) -> dict[str, Any]:
    """Read the metadata alone of a file that is known to be whole."""
    with safe_open(path, framework="pt") as file:
        info: dict[str, Any] = json.loads(file.metadata()[METADATA])
    return info


Weights = dict[str, Tensor]


@dataclass
class State:
    """Everything that a run carries from one epoch to the next.

    `average` is the moving average of `weights` that is validated and saved; empty before the
    first epoch, and where there is none. `optimizer` holds AdamW's moments and step of each
    parameter by its number. `history` has the losses and scores of each epoch by name. `best` is
    the index of the epoch whose weights are `best_weights`; -1 before the first.
    """

    weights: Weights
    average: Weights = field(default_factory=dict)
    optimizer: dict[int, Weights] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    best_weights: Weights = field(default_factory=dict)


def epoch_seed(*numbers: int) -> int:
    """Derive a 63-bit seed for an epoch of a run from the numbers that identify it."""
    words = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def snapshot(network: torch.nn.Module) -> Weights:
    """Copy the network's state, so that training does not change it."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def write_state(path: Path, state: State) -> None:
    """Write everything that a run needs to continue."""
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"best/{name}": value for name, value in state.best_weights.items()}
    for number, parts in state.optimizer.items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in parts.items()}
    write_tensors(path, tensors, {"history": state.history, "best": state.best})


def read_state(path: Path) -> State:
    """Read what `write_state` has written."""
    tensors, info = read_tensors(path)
    state = State(weights={}, history=info["history"], best=info["best"])
    for name, value in tensors.items():
        kind, rest = name.split("/", 1)
        if kind == "weights":
            state.weights[rest] = value
        elif kind == "average":
            state.average[rest] = value
        elif kind == "best":
            state.best_weights[rest] = value
        else:
            number, part = rest.split("/")
            state.optimizer.setdefault(int(number), {})[part] = value
    return state


@dataclass(frozen=True)
class CachedState:
    """The entry of a run in the store; `key` is a digest of all that decides its result.

    A subclass names the namespace of finished runs.
    """

    store: Store
    key: str

    NAMESPACE: ClassVar[str]

    @property
    def _unfinished(self) -> str:
        return f"{self.NAMESPACE}-checkpoint"

    def checkpoint(self) -> State | None:
        """Return the last saved state of a run that was not finished."""
        return self._get(self._unfinished, read_state)

    def save_checkpoint(self, state: State) -> None:
        self._put(self._unfinished, lambda path: write_state(path, state))

    def remove_checkpoint(self) -> None:
        self.store.remove(self._unfinished, self.key, "file")

    def remove(self) -> None:
        """Remove everything."""
        self.store.remove(self.NAMESPACE, self.key, "file")
        self.remove_checkpoint()

    def _finish(self, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Store a finished run and remove its checkpoint."""
        self._put(self.NAMESPACE, lambda path: write_tensors(path, tensors, info))
        self.remove_checkpoint()

    def _get(self, namespace: str, read: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.safetensors"
            return read(path) if self.store.get_file(namespace, self.key, path) else None

    def _put(self, namespace: str, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.safetensors"
            write(path)
            self.store.put_file(namespace, self.key, path)
