"""Runs as safetensors files: the state to resume from, and the trained network to use.

No pickle is ever loaded. What is not a tensor is JSON in the file's metadata, under one key,
because several would be written in an order that changes from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.arpgnet import ARPGNet, ARPGNetConfig
from pipeline.errors import UserError
from pipeline.train.fit import State, Weights
from pipeline.train.network import build_network, config_from_dict

METADATA = "arpgnet"
MODEL = "model.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors (moved to the CPU) and JSON-able facts; same input, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, path, metadata={METADATA: json.dumps(info, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `write_tensors`.

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


def write_state(path: Path, state: State) -> None:
    """Keep everything that a run needs to go on."""
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"best/{name}": value for name, value in state.best_weights.items()}
    for number, parts in state.optimizer.items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in parts.items()}
    write_tensors(path, tensors, {"history": state.history, "best": state.best})


def read_state(path: Path) -> State:
    """The inverse of `write_state`."""
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


def save_run(
    folder: Path, config: ARPGNetConfig, weights: Weights, info: Mapping[str, Any]
) -> None:
    """Write a trained network with all that is needed to use it.

    Args:
        folder: of the run; the file is `MODEL` in it.
        config: of the network.
        weights: its state dict.
        info: `classes`, `params` (the settings it was trained with), `features` (the facts of the
            region graph and of the inputs), `fold`, `seed` and what else should be known.
    """
    write_tensors(folder / MODEL, weights, {**info, "network": asdict(config)})


def load_run(folder: Path) -> tuple[ARPGNet, dict[str, Any]]:
    """A trained network in evaluation mode on the CPU, and what was kept about it.

    Returns:
        The network and a mapping with `classes`, `params`, `network`, `features`, `fold`, `seed`,
        `best_epoch` and `validation`.

    Raises:
        UserError: there is no network of this version in the folder.
    """
    path = folder / MODEL
    tensors, info = read_tensors(path)
    try:
        # weights are about to be replaced: their random start must not disturb the caller's
        with torch.random.fork_rng(devices=[]):
            network = build_network(config_from_dict(info["network"]), info["features"])
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} was written by another version ({reason}): run `dvc repro train`"
        ) from None
    return network.eval(), info
