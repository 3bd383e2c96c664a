"""From predictions to the numbers of `reports/metrics.json` and `reports/evaluation.json`.

Each seed's test predictions of all folds are pooled (with k folds or leave-one-subject-out every
clip is a test clip once), scored, and averaged over seeds. The standard deviation over single runs
and the bootstrap interval over subjects (see `units`) are reported with the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.bootstrap import interval, resample_confusions
from arpgnet.pipeline.evaluate.metrics import (
    ECE_BINS,
    SCORES,
    calibration_error,
    confusion_counts,
    overconfidence,
    per_class,
    scores,
)
from arpgnet.pipeline.evaluate.mistakes import confident_mistakes
from arpgnet.pipeline.evaluate.reliability import reliability
from arpgnet.pipeline.evaluate.subjects import subject_scores
from arpgnet.pipeline.evaluate.units import Origin, Units, interval_units
from arpgnet.pipeline.tables.predictions import NETWORK, Predictions, temper

DECIMALS = 6
FOLD_MEANS = ("war", "uar", "macro_f1")
ENSEMBLE = "ensemble"  # the model whose probabilities are the mean of the seeds'
RIVALS = ("war", "uar")  # the scores of a baseline that are compared with the network's


@dataclass(frozen=True)
class Scored:
    """One model's test result.

    Shapes: `unit` int `[rows]`, each row's bootstrap unit; `counts` `[S, K, K + 1]`
    confusion of each seed, `draws` maps a score to `[R]`, its value in each bootstrap resample
    averaged over the seeds.
    """

    rows: Predictions
    unit: np.ndarray
    seeds: list[int]
    counts: np.ndarray
    draws: dict[str, np.ndarray]


def score_model(rows: Predictions, units: Units, params: EvaluateParams) -> Scored:
    """Pool one model's test rows over folds, per seed, and resample them."""
    seeds = sorted({int(seed) for seed in rows.seed})
    names = sorted(set(units.of_clip.values()))
    number = {name: index for index, name in enumerate(names)}
    unit = np.array([number[units.of_clip[clip]] for clip in rows.clip_id])
    classes = len(rows.classes)
    counts = np.zeros((len(names), len(seeds), classes, classes + 1), dtype=np.int64)
    np.add.at(
        counts,
        (
            unit,
            np.searchsorted(seeds, rows.seed),
            rows.label,
            np.where(rows.predicted < 0, classes, rows.predicted),
        ),
        1,
    )
    resampled = scores(resample_confusions(counts, params.bootstrap), params.missing)
    draws = {name: values.mean(axis=1) for name, values in resampled.items()}
    return Scored(rows, unit, seeds, counts.sum(axis=0), draws)


def summarize(
    predictions: Predictions,
    clips: Sequence[Origin],
    params: EvaluateParams,
    metadata: Mapping[str, Any],
    temperatures: Mapping[tuple[int, int], float] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score every model.

    Args:
        predictions: all rows of all models.
        clips: `origins` of every clip of the manifest.
        params: how missing predictions count, and the interval.
        metadata: what was run (data set, protocol), copied to the details.
        temperatures: of each run, by fold and seed; the calibration error without them is reported
            too.

    Returns:
        `(metrics, details)`: numbers only, for `dvc metrics`; and everything else.

    Raises:
        UserError: no test clip is left to score.
    """
    test = predictions.select(predictions.split == "test")
    tested = set(test.clip_id)
    units = interval_units([clip for clip in clips if clip["clip_id"] in tested])
    if not (test.model == NETWORK).any():
        raise UserError("no test predictions to evaluate: check dataset.protocol and train.folds")
    if params.missing == "skip" and (test.predicted < 0).all():
        raise UserError("evaluate.missing: skip leaves no clip: every test clip is quarantined")
    models = {
        str(name): score_model(test.select(test.model == name), units, params)
        for name in sorted(set(test.model))
    }
    network = models.pop(NETWORK)
    runs = run_scores(network.rows, params)
    validation = run_scores(
        predictions.select((predictions.split == "val") & (predictions.model == NETWORK)), params
    )
    fold_mean = {name: mean_std([run[name] for run in runs]) for name in SCORES}
    gains = {
        name: {"uar": spread(network, params, baseline=base, only=("uar",))["uar"]}
        for name, base in models.items()
    }
    metrics: dict[str, Any] = {
        **spread(network, params),
        "fold_mean": {key: fold_mean[key] for key in FOLD_MEANS},
        "ece": mean_std(of_each_seed(network, calibration_error)),
        "ece_uncalibrated": mean_std(
            of_each_seed(uncalibrated(network, temperatures or {}), calibration_error)
        ),
        "overconfidence": mean_std(of_each_seed(network, overconfidence)),
        "intervals_over": {units.name: len({units.of_clip[clip] for clip in tested})},
        "clips": len(tested),
        "folds": len(set(network.rows.fold)),
        "seeds": len(network.seeds),
        "recall": {
            name: values["recall"]
            for name, values in class_table(network, params).items()
            if values["support"] > 0
        },
        # their intervals are in the details: here they would make `dvc metrics show` unreadable
        "baselines": {
            name: {
                key: value["mean"] for key, value in spread(base, params).items() if key in RIVALS
            }
            for name, base in models.items()
        },
        "beats_baselines": all(gain["uar"]["ci_low"] > 0 for gain in gains.values()),
    }
    together = None
    if len(network.seeds) > 1:
        together = score_model(network.rows.mean_over_seeds(), units, params)
        metrics["ensemble"] = {
            **{key: value for key, value in spread(together, params).items() if key in RIVALS},
            "ece": mean_std(of_each_seed(together, calibration_error)),
            "gain": spread(together, params, baseline=network, only=("uar",)),
        }
    own = official(network, metadata.get("protocol"), params)
    if own:
        metrics["official"] = own["score"]
    if (test.frame_index >= 0).any():
        metrics["frames"] = len(network.rows.label) // len(network.seeds)
    if validation:
        metrics["val_uar"] = mean_std([run["uar"] for run in validation])
    details: dict[str, Any] = {
        **metadata,
        "missing": params.missing,
        "bootstrap": params.bootstrap,
        "confidence": params.confidence,
        "interval_unit": units.name,
        "intervals_over": len({units.of_clip[clip] for clip in tested}),
        "pooling": "test clips of all folds pooled per seed, then averaged over seeds",
        "classes": predictions.classes,
        "clips": len(tested),
        "clips_without_prediction": len(set(network.rows.clip_id[network.rows.predicted < 0])),
        "runs": runs,
        "fold_mean": fold_mean,
        "ece_bins": ECE_BINS,
        "reliability": reliability(
            network.rows.label,
            network.rows.probabilities,
            network.unit,
            resamples=params.bootstrap,
            confidence=params.confidence,
        ),
        "subjects": subject_scores(
            network.rows,
            {str(clip["clip_id"]): clip["subject"] for clip in clips},
            params.missing,
        ),
        "mistakes": confident_mistakes(network.rows),
        "models": {
            name: model_details(model, params)
            for name, model in {NETWORK: network, **models}.items()
        }
        | ({ENSEMBLE: model_details(together, params)} if together else {}),
        "ensemble": together
        and {
            "gain_over_networks": metrics["ensemble"]["gain"]["uar"],
            "gain_over_baselines": {
                name: {"uar": spread(together, params, baseline=base, only=("uar",))["uar"]}
                for name, base in models.items()
            },
        },
        "gain_over_baselines": gains,
        "official": own,
    }
    return rounded(metrics), rounded(details)


def uncalibrated(model: Scored, temperatures: Mapping[tuple[int, int], float]) -> Scored:
    """Return a model with the probabilities that its networks gave before calibration.

    Exactly where a unit has one view; an average of several is taken back as if it were one.
    """
    rows = model.rows
    runs = zip(rows.fold.tolist(), rows.seed.tolist(), strict=True)
    inverse = np.array([1 / temperatures.get(run, 1.0) for run in runs])
    return replace(
        model, rows=replace(rows, probabilities=temper(rows.probabilities, inverse[:, None]))
    )


def official(
    network: Scored, protocol: Mapping[str, Any] | None, params: EvaluateParams
) -> dict[str, Any] | None:
    """Give the score that a data set's publications report, and its denominator.

    None for the user's own clips.

    Args:
        protocol: what ingest noted.
    """
    if not protocol or not protocol["published"]:
        return None
    metric = protocol["metric"]
    support = per_class(network.counts, params.missing)["support"].sum(axis=-1)
    return {
        "metric": metric,
        "score": spread(network, params, only=(metric,))[metric],
        "denominator": int(support.max()),
        "unit": "frames" if (network.rows.frame_index >= 0).any() else "clips",
        "words": protocol["words"],
    }


def spread(
    model: Scored,
    params: EvaluateParams,
    *,
    baseline: Scored | None = None,
    only: tuple[str, ...] = SCORES,
) -> dict[str, dict[str, float]]:
    """Compute mean and standard deviation over seeds, and the bootstrap interval, of each score.

    With a `baseline` these are of the paired difference to its mean, on the same resamples.
    """
    per_seed = scores(model.counts, params.missing)
    base = scores(baseline.counts, params.missing) if baseline else None
    result: dict[str, dict[str, float]] = {}
    for name in only:
        offset = base[name].mean() if base else 0.0
        draws = model.draws[name] - (baseline.draws[name] if baseline else 0.0)
        low, high = interval(draws, params.confidence)
        result[name] = mean_std(per_seed[name] - offset) | {"ci_low": low, "ci_high": high}
    return result


def mean_std(values: Any) -> dict[str, float]:
    """Compute the mean, and the sample standard deviation if there are at least two values."""
    array = np.asarray(values, dtype=np.float64)
    result = {"mean": float(array.mean())}
    if len(array) > 1:
        result["std"] = float(array.std(ddof=1))
    return result


def of_each_seed(model: Scored, measure: Callable[[np.ndarray, np.ndarray], float]) -> list[float]:
    """Apply a measure of labels and probabilities to each seed's pooled test clips."""
    parts = [model.rows.select(model.rows.seed == seed) for seed in model.seeds]
    return [measure(rows.label, rows.probabilities) for rows in parts]


def run_scores(rows: Predictions, params: EvaluateParams) -> list[dict[str, Any]]:
    """Score each (fold, seed) on its own."""
    found = []
    for fold, seed in rows.runs:
        one = rows.select((rows.fold == fold) & (rows.seed == seed))
        counts = confusion_counts(one.label, one.predicted, len(rows.classes))
        values = {name: float(value) for name, value in scores(counts, params.missing).items()}
        found.append({"fold": fold, "seed": seed, "clips": len(one.label), **values})
    return found


def class_table(model: Scored, params: EvaluateParams) -> dict[str, dict[str, float]]:
    """Compute recall, precision, F1 (averaged over seeds) and support per class name."""
    table = per_class(model.counts, params.missing)
    return {
        name: {
            key: float(values[:, index].mean())
            for key, values in table.items()
            if not np.isnan(values[:, index]).any()
        }
        for index, name in enumerate(model.rows.classes)
    }


def model_details(model: Scored, params: EvaluateParams) -> dict[str, Any]:
    """Collect all scores of a model, its classes, and its confusion counts summed over seeds.

    The confusion matrix's last column counts clips without a prediction; `confusion_normalized`
    divides each row by its sum.
    """
    counts = model.counts.sum(axis=0)
    total = counts.sum(axis=1, keepdims=True)
    return {
        "scores": spread(model, params),
        "seeds": model.seeds,
        "per_class": class_table(model, params),
        "confusion": counts.tolist(),
        "confusion_normalized": (counts / np.maximum(total, 1)).tolist(),
    }


def rounded(node: Any) -> Any:
    """Round every float of a nested structure; NaN becomes null."""
    if isinstance(node, dict):
        return {key: rounded(value) for key, value in node.items()}
    if isinstance(node, list):
        return [rounded(value) for value in node]
    if isinstance(node, float):
        # adding zero turns -0.0 into 0.0
        return None if np.isnan(node) else round(float(node), DECIMALS) + 0.0
    return node
