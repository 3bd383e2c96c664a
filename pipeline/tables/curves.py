"""Learning curves of the runs and what else is known of their training: where it lies, what it
holds, and how it is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# every run's folder lies in it
RUNS = Path("artifacts/runs")
# of a run, in its folder; see `Networks._facts` of the train stage
FACTS = "training.json"
# of expressions; other tasks have other scores behind the losses
CURVES = ("train_loss", "val_loss", "val_uar", "val_macro_f1")


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what the train stage says of a run."""
    found: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return found


def read_curves(folder: Path) -> list[dict[str, float]]:
    """Return the epochs of one run in order, each a mapping of the losses and scores."""
    columns = {}
    there = folder / "plots" / "metrics"
    for name in in_order(path.stem for path in there.glob("*.tsv")):
        path = there / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            columns[name] = [float(row[name]) for row in csv.DictReader(file, delimiter="\t")]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def in_order(names: Iterable[str]) -> list[str]:
    """Sort the losses before the scores."""
    found = sorted(names)
    return sorted(found, key=lambda name: CURVES.index(name) if name in CURVES else len(CURVES))
