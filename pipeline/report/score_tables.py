"""The tables of scores: of every model, and of every target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arpgnet.pipeline.report.sentences import MODEL_NAMES, interval, number
from arpgnet.pipeline.tables.facs import described
from arpgnet.pipeline.tables.predictions import NETWORK

SCORES = {
    "f1": ("F1", "harmonic mean of precision and recall of presence, over the whole test part"),
    "icc": ("ICC(3,1)", "intraclass correlation of annotation and prediction, 1 at best"),
    "mae": ("MAE", "mean absolute error, on the scale of the annotation"),
    "ccc": ("CCC", "Lin's concordance correlation coefficient, 1 at best"),
    "uar": ("UAR", "mean recall over the classes"),
    "war": ("WAR", "fraction of all that is correct"),
    "macro_f1": ("macro-F1", "mean F1 over the classes"),
    "rmse": ("RMSE", "root of the mean squared error, on the scale of the annotation"),
}
BASELINES = {
    **MODEL_NAMES,
    "prevalence": "each unit's prevalence, the same for every face",
    "mean": "each target's mean, the same for every face",
    "ridge_embedding": "ridge regression on the mean embedding",
    "ridge_map": "ridge regression on the mean feature map",
    "ridge_map_grid": "ridge regression on the mean feature map with positions",
}


def model_rows(details: Mapping[str, Any], scores: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row per model, the best by the first score first."""
    first = scores[0]
    models = details["models"]

    def rank(name: str) -> float:
        mean = models[name]["scores"][first]["mean"]
        return -1.0 if mean is None else float(mean)

    for name in sorted(models, key=rank, reverse=True):
        found = models[name]["scores"]
        yield {
            "name": BASELINES.get(name, name),
            "ours": name == NETWORK,
            "cells": [f"{cell(found[score]['mean'])} {_brackets(found[score])}"
                      for score in scores],
        }  # fmt: skip


def output_rows(details: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row per target: its name, how it is annotated, its scores and its best baseline."""
    models, first = details["models"], details["scores"][0]
    for name in details["outputs"]:
        own = models[NETWORK]["per_output"][name]
        rivals = [
            model["per_output"][name][first]["mean"]
            for key, model in models.items()
            if key != NETWORK and model["per_output"][name][first]["mean"] is not None
        ]
        known = details["annotated"][name]
        yield {
            "name": name,
            "described": described(name),
            "count": f"{known['count']:,}",
            "mean": cell(known["mean"]),
            "cells": [f"{cell(own[score]['mean'])} {_brackets(own[score])}"
                      for score in details["scores"]],
            "rival": number(max(rivals)) if rivals else "",
        }  # fmt: skip


def cell(value: float | None) -> str:
    """Format a score, which may be undefined."""
    return "not defined" if value is None else number(value)


def _brackets(score: Mapping[str, Any]) -> str:
    return "" if score.get("ci_low") is None else interval(score)


def columns(details: Mapping[str, Any], unit: str) -> str:
    """Say what the columns of the table of targets count, in the words of the task."""
    said = f"Annotated: the number of test {unit}s with an annotation of the target."
    if "f1" not in details["scores"]:
        return f"{said} Mean: of these annotations."
    return (
        f"{said} Mean: the fraction of them in which the action unit is present. A unit that is "
        "never present in the test part has no F1 and does not count in the mean."
    )
