"""`reports/metrics.json` and its details, for tasks with target values.

As for expressions each seed's test predictions of all folds are pooled, scored, and averaged over
seeds; intervals come from a bootstrap over subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.bootstrap import interval, resample_confusions
from arpgnet.pipeline.evaluate.summary import mean_std, rounded
from arpgnet.pipeline.evaluate.target_metrics import MEASURES, Measures, over_outputs
from arpgnet.pipeline.evaluate.units import Origin, Units, interval_units
from arpgnet.pipeline.tables.predictions import NETWORK, TargetPredictions
from arpgnet.pipeline.tables.thresholds import FIXED, best_thresholds

# fewest annotated units of a subject whose score is shown
FEWEST = 10


@dataclass(frozen=True)
class Scored:
    """One model's test result: `sums` [S, A, n] of each seed, `draws` [R, S, A, n] of each
    bootstrap resample, `of_unit` [units, S, A, n] of each independent unit."""

    seeds: list[int]
    sums: np.ndarray
    draws: np.ndarray
    of_unit: np.ndarray


def decided(
    rows: TargetPredictions, validation: TargetPredictions, params: EvaluateParams
) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Turn probabilities into presence (0, 1, NaN without a prediction), float64 [rows, A], and
    return the thresholds of each run that were used.

    Args:
        rows: test predictions of one model.
        validation: its validation predictions, which choose the thresholds of each fold and seed.
    """
    present = np.full(rows.values.shape, np.nan)
    used: dict[str, list[float]] = {}
    for fold, seed in rows.runs:
        mine = (rows.fold == fold) & (rows.seed == seed)
        threshold = np.full(len(rows.names), FIXED)
        if params.threshold == "validation":
            held = validation.select((validation.fold == fold) & (validation.seed == seed))
            threshold = best_thresholds(held.target, held.values)
        known = mine & ~np.isnan(rows.values).any(axis=1)
        present[known] = rows.values[known] >= threshold
        used[f"fold{fold}-seed{seed}"] = threshold.tolist()
    if params.missing == "wrong":
        gone = np.isnan(present)
        present[gone] = 1 - rows.target[gone]
    return present, used


def summarize_targets(
    predictions: TargetPredictions,
    clips: Sequence[Origin],
    params: EvaluateParams,
    metadata: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score every model.

    Args:
        predictions: all rows of all models.
        clips: `origins` of every clip of the manifest.
        metadata: copied to the details.

    Returns:
        `(metrics, details)`, as `summary.summarize`.

    Raises:
        UserError: no test clip is left to score.
    """
    measures = MEASURES[predictions.kind]
    test = predictions.select(predictions.split == "test")
    validation = predictions.select(predictions.split == "val")
    tested = set(test.clip_id)
    if not (test.model == NETWORK).any():
        raise UserError("no test predictions to evaluate: check dataset.protocol and train.folds")
    units = interval_units([clip for clip in clips if clip["clip_id"] in tested])
    models: dict[str, Scored] = {}
    thresholds: dict[str, list[float]] | None = None
    # the network's test rows, and what is scored of them
    own, found = test.select(test.model == NETWORK), np.empty(0)
    for name in sorted(set(test.model)):
        rows = test.select(test.model == name)
        values, used = rows.values, None
        if measures.binary:
            held = validation.select(validation.model == name)
            values, used = decided(rows, held, params)
        if name == NETWORK:
            found, thresholds = values, used
        models[name] = score_targets(rows, values, units, measures, params)
    network = models[NETWORK]
    first = measures.first
    gains = {
        name: {first: spread(network, measures, params, baseline=model)[first]}
        for name, model in models.items()
        if name != NETWORK
    }
    coverage = [
        1 - np.isnan(own.values[own.seed == seed]).any(axis=1).mean() for seed in network.seeds
    ]
    tables = {name: output_table(model, predictions.names, measures, params)
              for name, model in models.items()}  # fmt: skip
    held_out = validation.select(validation.model == NETWORK)
    held_values = held_out.values
    if measures.binary:
        held_values = decided(held_out, held_out, params)[0]
    metrics: dict[str, Any] = {
        **spread(network, measures, params),
        "coverage": mean_std(coverage),
        "per_output": {
            name: {score: table[score]["mean"] for score in measures.scores}
            for name, table in tables[NETWORK].items()
        },
        "intervals_over": {units.name: len({units.of_clip[clip] for clip in tested})},
        "clips": len(tested),
        "folds": len(set(own.fold.tolist())),
        "seeds": len(network.seeds),
        "baselines": {
            name: {key: value["mean"] for key, value in spread(model, measures, params).items()}
            for name, model in models.items()
            if name != NETWORK
        },
        "beats_baselines": all(gain[first]["ci_low"] > 0 for gain in gains.values()),
        f"val_{first}": mean_std(
            [run[first] for run in run_scores(held_out, held_values, measures)]
        ),
    }
    if (own.frame_index >= 0).any():
        metrics["frames"] = len(own.clip_id) // len(network.seeds)
    details: dict[str, Any] = {
        **metadata,
        "kind": predictions.kind,
        "outputs": predictions.names,
        "scores": list(measures.scores),
        "missing": params.missing,
        "bootstrap": params.bootstrap,
        "confidence": params.confidence,
        "interval_unit": units.name,
        "intervals_over": len({units.of_clip[clip] for clip in tested}),
        "clips": len(tested),
        "threshold": params.threshold if measures.binary else None,
        "thresholds": thresholds,
        "runs": run_scores(own, found, measures),
        "models": {
            name: {
                "scores": spread(model, measures, params),
                "seeds": model.seeds,
                "per_output": tables[name],
            }
            for name, model in models.items()
        },
        "gain_over_baselines": gains,
        "annotated": annotated(own, network.seeds[0]),
        "subjects": subject_table(
            network, sorted(set(units.of_clip.values())), measures, units.name
        ),
        "co_occurrence": co_occurrence(own, found) if measures.binary else None,
    }
    return rounded(metrics), rounded(details)


def score_targets(
    rows: TargetPredictions,
    values: np.ndarray,
    units: Units,
    measures: Measures,
    params: EvaluateParams,
) -> Scored:
    """Pool one model's test rows over folds, per seed, and resample them.

    Args:
        values: what is scored of the rows [rows, A]: presence of `decided`, or their values.
    """
    names = sorted(set(units.of_clip.values()))
    number = {name: place for place, name in enumerate(names)}
    unit = np.array([number[units.of_clip[clip]] for clip in rows.clip_id])
    seeds = sorted({int(seed) for seed in rows.seed})
    each = measures.sums(rows.target, values)
    of_unit = np.zeros((len(names), len(seeds), *each.shape[1:]))
    np.add.at(of_unit, (unit, np.searchsorted(seeds, rows.seed)), each)
    draws = resample_confusions(of_unit, params.bootstrap)
    return Scored(seeds, of_unit.sum(axis=0), draws, of_unit)


def spread(
    model: Scored,
    measures: Measures,
    params: EvaluateParams,
    *,
    baseline: Scored | None = None,
) -> dict[str, dict[str, float]]:
    """Compute each score's mean over outputs: its mean and deviation over seeds, and interval.

    With a `baseline` these are of the paired difference to its mean, on the same resamples.
    """
    found = {}
    for name, score in measures.scores.items():
        each, draws = over_outputs(score(model.sums)), over_outputs(score(model.draws)).mean(axis=1)
        if baseline is not None:
            each = each - over_outputs(score(baseline.sums)).mean()
            draws = draws - over_outputs(score(baseline.draws)).mean(axis=1)
        low, high = interval(draws, params.confidence)
        found[name] = mean_std(each) | {"ci_low": low, "ci_high": high}
    return found


def output_table(
    model: Scored, names: Sequence[str], measures: Measures, params: EvaluateParams
) -> dict[str, dict[str, dict[str, float]]]:
    """Return each output's scores, with intervals."""
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    for key, score in measures.scores.items():
        each, draws = score(model.sums), score(model.draws).mean(axis=1)
        for place, name in enumerate(names):
            defined = not np.isnan(draws[:, place]).all()
            nothing = (float("nan"), float("nan"))
            low, high = interval(draws[:, place], params.confidence) if defined else nothing
            table[name][key] = mean_std(each[:, place]) | {"ci_low": low, "ci_high": high}
    return table


def run_scores(
    rows: TargetPredictions, values: np.ndarray, measures: Measures
) -> list[dict[str, Any]]:
    """Score what is predicted [rows, A] for each (fold, seed) on its own."""
    found = []
    for fold, seed in rows.runs:
        mine = (rows.fold == fold) & (rows.seed == seed)
        sums = measures.sums(rows.target[mine], values[mine]).sum(axis=0)
        scores = {name: float(over_outputs(score(sums))) for name, score in measures.scores.items()}
        found.append({"fold": fold, "seed": seed, "units": int(mine.sum()), **scores})
    return found


def annotated(rows: TargetPredictions, seed: int) -> dict[str, dict[str, float]]:
    """Return of each output how many test units are annotated, and their mean value."""
    target = rows.target[rows.seed == seed]
    known = ~np.isnan(target)
    total = np.where(known, target, 0).sum(axis=0)
    return {
        name: {"count": int(count), "mean": float(sum_ / count) if count else float("nan")}
        for name, count, sum_ in zip(rows.names, known.sum(axis=0), total, strict=True)
    }


def subject_table(
    model: Scored, names: Sequence[str], measures: Measures, unit: str
) -> list[dict[str, Any]]:
    """Return the first score of each subject's own test part, averaged over seeds, lowest first;
    empty where subjects are unknown."""
    if unit != "subject":
        return []
    score = over_outputs(measures.scores[measures.first](model.of_unit)).mean(axis=1)
    rows: list[dict[str, Any]] = [
        {"subject": name, measures.first: float(value)}
        for name, value in zip(names, score, strict=True)
    ]
    return sorted(rows, key=lambda row: (np.isnan(row[measures.first]), row[measures.first]))


def co_occurrence(rows: TargetPredictions, present: np.ndarray) -> dict[str, Any]:
    """Return how often each unit (column) is present where another (row) is: annotated, and
    predicted; A x A each, NaN for a unit that never is."""

    def shares(values: np.ndarray) -> list[list[float]]:
        true = np.nan_to_num(values) > 0.5
        both = true.T.astype(np.float64) @ true
        with np.errstate(invalid="ignore", divide="ignore"):
            found: list[list[float]] = (both / np.diag(both)[:, None]).tolist()
        return found

    return {"annotated": shares(rows.target), "predicted": shares(present)}
