"""Tables for `dvc plots`: confusion matrix, learning curves, calibration and subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arpgnet.pipeline.tables.curves import CURVES
from arpgnet.pipeline.tables.predictions import Predictions
from arpgnet.pipeline.tables.text_files import write_csv

NO_PREDICTION = "none"
# a browser draws the table of `dvc plots`
MOST_LINES = 100_000

History = Sequence[Mapping[str, float]]


def write_confusion(rows: Predictions, path: Path) -> None:
    """Write `actual,predicted` by class name, one line per test clip and seed.

    Of more than `MOST_LINES` labeled frames evenly spaced ones: the image shows shares.
    """
    names = [*rows.classes, NO_PREDICTION]
    step = -(-len(rows.label) // MOST_LINES) or 1
    # -1 (no prediction) is the last name
    pairs = zip(rows.label[::step], rows.predicted[::step], strict=True)
    write_csv(path, ("actual", "predicted"), ([names[a], names[p]] for a, p in pairs))


def write_curves(histories: Mapping[str, History], path: Path) -> None:
    """Write `run,epoch,train_loss,val_loss` and the scores, the history of every run."""
    names = _names(histories)
    write_csv(
        path,
        ("run", "epoch", *names),
        (
            [run, epoch, *(f"{row[name]:.6f}" for name in names)]
            for run, history in histories.items()
            for epoch, row in enumerate(history)
        ),
    )


def write_mean_curves(histories: Mapping[str, History], path: Path) -> None:
    """Write `epoch,train_loss,val_loss` and the scores, the mean over runs.

    A run that stopped early keeps its last values, so that every epoch averages the same runs.
    """
    names = _names(histories)
    longest = max((len(history) for history in histories.values()), default=0)
    rows = []
    for epoch in range(longest):
        now = [history[min(epoch, len(history) - 1)] for history in histories.values()]
        means = (sum(row[name] for row in now) / len(now) for name in names)
        rows.append([epoch, *(f"{value:.6f}" for value in means)])
    write_csv(path, ("epoch", *names), rows)


def _names(histories: Mapping[str, History]) -> list[str]:
    """Return the losses and scores that every epoch has."""
    return list(next((history[0] for history in histories.values() if history), CURVES))


def write_outputs(table: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Write `output` and a column per score, one line per target that has all of them."""
    scores = list(next(iter(table.values())))
    rows = ([name, *(row[score]["mean"] for score in scores)] for name, row in table.items())
    write_csv(path, ("output", *scores), (row for row in rows if None not in row))


def write_reliability(bins: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write `probability,accuracy,perfect,predictions`, one line per bin with predictions."""
    columns = ("confidence", "correct", "confidence")
    rows = ([*(f"{row[name]:.6f}" for name in columns), row["predictions"]] for row in bins)
    write_csv(path, ("probability", "accuracy", "perfect", "predictions"), rows)


def write_subjects(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write `subject,uar,war,clips`, one line per subject with a score, in the same order."""
    scored = (row for row in rows if row["uar"] is not None)
    lines = ([row["subject"], row["uar"], row["war"], row["clips"]] for row in scored)
    write_csv(path, ("subject", "uar", "war", "clips"), lines)
