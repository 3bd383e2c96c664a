"""Learning curves of the runs: where they lie, what they hold, and how they are read."""

from __future__ import annotations

import csv
from pathlib import Path

# every run's folder lies in it
RUNS = Path("artifacts/runs")
CURVES = ("train_loss", "val_loss", "val_uar", "val_macro_f1")


def read_curves(folder: Path) -> list[dict[str, float]]:
    """Return the epochs of one run in order, each a mapping of `CURVES`."""
    columns = {}
    for name in CURVES:
        path = folder / "plots" / "metrics" / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            columns[name] = [float(row[name]) for row in csv.DictReader(file, delimiter="\t")]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
