"""Learning curves of the runs and what else is known of their training: where it lies, what it
holds, and how it is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError

# every run's folder lies in it
RUNS = Path("artifacts/runs")
# of a run, in its folder; see `Networks._run_metadata` of the train stage
RUN_METADATA = "training.json"
# what evaluate and report take from it; an earlier version wrote fewer
KEYS = ("best_epoch", "epochs", "epoch_steps", "improving", "refitted", "temperature", "domain")
LOSSES = ("train_loss", "val_loss")
# of expressions; other tasks have other scores behind the losses
CURVES = (*LOSSES, "val_uar", "val_macro_f1")


def read_run_metadata(folder: Path) -> dict[str, Any]:
    """Return what the train stage says of a run.

    Raises:
        UserError: it says nothing, or less: an earlier version trained the run.
    """
    path = folder / RUN_METADATA
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _trained_earlier(f"{path} not found") from None
    except ValueError:
        raise UserError(f"{path} is damaged: run `dvc repro --force train`") from None
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise _trained_earlier(f"{path} has no {', '.join(missing)}")
    return found


def _trained_earlier(what: str) -> UserError:
    return UserError(f"{what}: an earlier version trained this run: run `dvc repro`")


def read_curves(folder: Path, needed: Iterable[str] = LOSSES) -> list[dict[str, float]]:
    """Return the epochs of one run in order, each a mapping of the losses and scores.

    Args:
        needed: the curves that must be there.

    Raises:
        UserError: one of them is absent: an earlier version trained the run.
    """
    columns = {}
    there = folder / "plots" / "metrics"
    names = in_order(path.stem for path in there.glob("*.tsv"))
    for name in needed:
        if name not in names:
            raise _trained_earlier(f"{there / name}.tsv not found")
    for name in names:
        path = there / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            columns[name] = [float(row[name]) for row in csv.DictReader(file, delimiter="\t")]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def in_order(names: Iterable[str]) -> list[str]:
    """Sort the losses before the scores."""
    found = sorted(names)
    return sorted(found, key=lambda name: CURVES.index(name) if name in CURVES else len(CURVES))
