"""A trained network as a file, with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from arpgnet.models.arpgnet import ARPGNet, ARPGNetConfig
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.training.domain import PREFIX, Domain, domain_of
from arpgnet.pipeline.training.network import build_network, config_from_dict, config_to_dict
from arpgnet.pipeline.training.state import Weights, read_tensors, write_tensors

MODEL = "model.safetensors"
# instead of a run's name: all seeds of the best run's fold together
ENSEMBLE = "ensemble"
# what users of a run read of its metadata, beside the network's architecture
NEEDED = ("classes", "params", "task", "fold", "seed", "best_epoch", "validation")


def save_run(
    folder: Path,
    config: ARPGNetConfig,
    weights: Weights,
    info: Mapping[str, Any],
    domain: Domain | None = None,
) -> None:
    """Write a trained network with all that is needed to use it.

    Args:
        folder: of the run; the file is `MODEL` in it.
        config: of the network.
        weights: its state dict.
        info: `classes`, `params` (the settings it was trained with), `features` (the metadata of
            the region graph and of the inputs), `fold`, `seed` and what else should be known.
        domain: of the training clips.
    """
    tensors = weights | (domain.tensors() if domain else {})
    write_tensors(folder / MODEL, tensors, {**info, "network": config_to_dict(config)})


def load_run(folder: Path) -> tuple[ARPGNet, dict[str, Any]]:
    """Return a trained network in evaluation mode on the CPU, and its metadata.

    Its logits are divided by the run's temperature: everybody who loads it gets the probabilities
    that evaluation has measured.

    Returns:
        The network and a mapping with `classes` (of other tasks than expressions, the targets),
        `kind` (the task), `params`, `network`, `features`, `fold`, `seed`, `best_epoch`,
        `temperature` and `validation`.

    Raises:
        UserError: there is no network of this version in the folder.
    """
    path = folder / MODEL
    tensors, info = read_tensors(path)
    missing = [key for key in NEEDED if key not in info]
    try:
        if missing:
            raise KeyError(f"no {', '.join(missing)}")
        # weights are about to be replaced: their random start must not disturb the caller's
        with torch.random.fork_rng(devices=[]):
            network = build_network(config_from_dict(info["network"]), info["features"])
        network.load_state_dict(
            {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
        )
        temperature = info.get("temperature", 1.0)
        for parameter in network.head.parameters():
            parameter.data /= temperature
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} was written by another version ({reason}): run `dvc repro train`"
        ) from None
    return network.eval(), info


def load_domain(folder: Path) -> Domain | None:
    """Return the description of a run's training clips; None where an older version wrote it.

    Raises:
        UserError: as `load_run`.
    """
    return domain_of(read_tensors(folder / MODEL)[0])


def runs(root: Path = Path()) -> list[str]:
    """Return the names of the trained runs.

    Raises:
        UserError: there are none.
    """
    found = sorted(path.parent.name for path in (root / RUNS).glob(f"*/{MODEL}"))
    if not found:
        raise UserError(f"no trained network in {root / RUNS}: run `dvc repro train` first")
    return found


def find_run(run: str | None, root: Path = Path()) -> str:
    """Return the run of this name; of none, the best one.

    Raises:
        UserError: there is no such run, or it is the ensemble, which is several.
    """
    if run is None:
        return best_run(root)
    if run == ENSEMBLE:
        names = ", ".join(ensemble_runs(root))
        raise UserError(
            f"--run {ENSEMBLE} is several networks ({names}), which only `arpgnet predict` and "
            "`arpgnet serve` average: choose one of them with --run"
        )
    if run not in runs(root):
        raise UserError(f"no run {run} in {root / RUNS}: available: {', '.join(runs(root))}")
    return run


def ensemble_runs(root: Path = Path()) -> list[str]:
    """Return the best run and those of its fold's other seeds, in this order.

    Raises:
        UserError: it has only one seed.
    """
    best = best_run(root)
    fold = best.split("-")[0]
    others = [name for name in runs(root) if name.split("-")[0] == fold and name != best]
    if not others:
        raise UserError(
            f"{best} is its fold's only run, and makes no {ENSEMBLE}: leave out --run, or train "
            "with several train.seeds"
        )
    return [best, *others]


def best_run(root: Path = Path()) -> str:
    """Return the run with the best validation score, that which chose its epoch; of equal ones the
    first by name."""

    def score(name: str) -> float:
        info = load_run(root / RUNS / name)[1]
        chosen = info.get("select", info["params"]["train"]["select"])
        if chosen == "auto":
            # of a run before there were other tasks than expressions
            chosen = "uar" if info["task"] == "clip" else "macro_f1"
        return float(info["validation"][f"val_{chosen}"])

    return max(runs(root), key=score)
