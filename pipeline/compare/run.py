"""`arpgnet compare`: two runs on the same test clips.

Differences are B minus A, as in `dvc metrics diff A B`. Each side's test predictions of all folds
are pooled per seed, scored, and averaged over its seeds. The bootstrap draws whole subjects, or
what else is independent (`evaluate.units`), the same ones for both sides. It accounts for the
choice of subjects, not of seeds: the variation over seeds is each side's standard deviation.

Of tasks with target values the means over all targets are compared.

McNemar's test needs one decision per clip (or labeled frame), which classes give: that of the mean
probability over seeds. Counting every seed's decision would count each clip several times, and the
p-value would be too small. The test is also reported per seed, for seeds that both sides have.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.compare.mcnemar import mcnemar
from arpgnet.pipeline.compare.pairing import Key, keys, paired
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.evaluate.bootstrap import two_sided_p
from arpgnet.pipeline.evaluate.summary import rounded, score_model, spread
from arpgnet.pipeline.evaluate.target_metrics import MEASURES
from arpgnet.pipeline.evaluate.targets import resampled, score_targets, scored_values
from arpgnet.pipeline.evaluate.targets import spread as target_spread
from arpgnet.pipeline.evaluate.units import Units, interval_units
from arpgnet.pipeline.tables.predictions import Predictions, Rows, TargetPredictions

COMPARED = ("uar", "war", "macro_f1")
Scores = dict[str, dict[str, Any]]


def compare(a: Side, b: Side, params: EvaluateParams, *, common: bool = False) -> dict[str, Any]:
    """Compare two runs.

    Args:
        params: how clips without a prediction count, and the interval.
        common: compare on the common test clips if the two have different ones.

    Returns:
        Numbers and names, ready for JSON: `a`, `b` (which run), `clips`, `units` (how many clips or
        labeled frames are scored, and which: `scored`), `left_out`, `interval_unit`,
        `intervals_over`, the settings, `scores` (per score `a`, `b` and `difference` with `ci_low`,
        `ci_high`, `p`; of which `first_score` judges), and of classes `mcnemar` and
        `mcnemar_by_seed`.

    Raises:
        UserError: the two cannot be paired, or the clips' subjects are unknown.
    """
    rows_a, rows_b, left_out = paired(a, b, common=common)
    clips = sorted(set(rows_a.clip_id))
    people = a.people or b.people
    if people is None or any(clip not in people for clip in clips):
        raise UserError(
            "data/manifest.parquet is missing beside the predictions: it is needed to know the "
            "subject of each clip"
        )
    units = interval_units([people[clip] for clip in clips])
    if isinstance(rows_a, Predictions) and isinstance(rows_b, Predictions):
        scores = _of_classes(rows_a, rows_b, units, params)
        decided = _mcnemars(rows_a, rows_b, params)
    elif isinstance(rows_a, TargetPredictions) and isinstance(rows_b, TargetPredictions):
        scores, decided = _of_targets(a, b, rows_a, rows_b, units, params), {}
    else:
        raise TypeError("paired() lets no two kinds of tasks pass")
    result = {
        "a": _side(a, rows_a),
        "b": _side(b, rows_b),
        "clips": len(clips),
        "scored": "labeled frames" if (rows_a.frame_index >= 0).any() else "clips",
        "units": len(set(keys(rows_a))),
        "left_out": left_out,
        "interval_unit": units.name,
        "intervals_over": len(set(units.of_clip.values())),
        "missing": params.missing,
        "bootstrap": params.bootstrap,
        "confidence": params.confidence,
        "scores": scores,
        **decided,
    }
    return rounded(result)


def _of_classes(
    rows_a: Predictions, rows_b: Predictions, units: Units, params: EvaluateParams
) -> Scores:
    if params.missing == "skip" and any((r.predicted < 0).all() for r in (rows_a, rows_b)):
        raise UserError("evaluate.missing: skip leaves no clip: one side has no predictions")
    scored_a, scored_b = (score_model(rows, units, params) for rows in (rows_a, rows_b))
    return {
        name: _score(
            spread(scored_a, params, only=(name,))[name],
            spread(scored_b, params, only=(name,))[name],
            spread(scored_b, params, baseline=scored_a, only=(name,))[name],
            scored_b.draws[name] - scored_a.draws[name],
        )
        for name in COMPARED
    }


def _of_targets(
    a: Side,
    b: Side,
    rows_a: TargetPredictions,
    rows_b: TargetPredictions,
    units: Units,
    params: EvaluateParams,
) -> Scores:
    """Compare the means over all targets, each side at the thresholds of its own validation."""
    measures = MEASURES[rows_a.kind]
    scored_a, scored_b = (
        score_targets(rows, scored_values(rows, side.validation, params)[0], units, params)
        for rows, side in ((rows_a, a), (rows_b, b))
        if isinstance(side.validation, TargetPredictions)
    )
    of_a, of_b = (target_spread(scored, measures, params) for scored in (scored_a, scored_b))
    difference = target_spread(scored_b, measures, params, baseline=scored_a)
    return {
        name: _score(
            of_a[name],
            of_b[name],
            difference[name],
            resampled(scored_b, score) - resampled(scored_a, score),
        )
        for name, score in measures.scores.items()
    }


def _score(
    of_a: dict[str, float], of_b: dict[str, float], difference: dict[str, float], draws: np.ndarray
) -> dict[str, Any]:
    gap = {key: value for key, value in difference.items() if key != "std"}
    return {"a": of_a, "b": of_b, "difference": gap | {"p": two_sided_p(draws)}}


def _side(side: Side, rows: Rows) -> dict[str, Any]:
    seeds = sorted({int(seed) for seed in rows.seed})
    return {"name": side.name, "seeds": seeds, "predictions_sha256": side.sha256}


def _mcnemars(rows_a: Predictions, rows_b: Predictions, params: EvaluateParams) -> dict[str, Any]:
    shared = set(rows_a.seed.tolist()) & set(rows_b.seed.tolist())
    return {
        "mcnemar": _mcnemar(rows_a, rows_b, params),
        "mcnemar_by_seed": {
            str(seed): _mcnemar(
                rows_a.select(rows_a.seed == seed), rows_b.select(rows_b.seed == seed), params
            )
            for seed in sorted(shared)
        },
    }


def _mcnemar(rows_a: Predictions, rows_b: Predictions, params: EvaluateParams) -> dict[str, Any]:
    place = {key: number for number, key in enumerate(sorted(set(keys(rows_a))))}
    label = np.zeros(len(place), np.int64)
    label[[place[key] for key in keys(rows_a)]] = rows_a.label
    decided_a, decided_b = (decisions(rows, place) for rows in (rows_a, rows_b))
    if params.missing == "skip":
        kept = (decided_a >= 0) & (decided_b >= 0)
        label, decided_a, decided_b = label[kept], decided_a[kept], decided_b[kept]
    return asdict(mcnemar(decided_a == label, decided_b == label))


def decisions(rows: Predictions, place: dict[Key, int]) -> np.ndarray:
    """Choose the class of the highest mean probability over seeds; -1 without a prediction.

    Args:
        place: of each key in the result.

    Returns:
        int64 `[keys]`.
    """
    known = ~np.isnan(rows.probabilities).any(axis=1)
    where = np.array([place[key] for key in keys(rows)])[known]
    total = np.zeros((len(place), len(rows.classes)))
    np.add.at(total, where, rows.probabilities[known])
    return np.where(np.bincount(where, minlength=len(place)) > 0, total.argmax(axis=1), -1)
