"""`arpgnet compare`: two runs on the same test clips.

Differences are B minus A, as in `dvc metrics diff A B`. Each side's test predictions of all folds
are pooled per seed, scored, and averaged over its seeds. The bootstrap draws whole subjects, or
what else is independent (`evaluate.units`), the same ones for both sides. It accounts for the
choice of subjects, not of seeds: the variation over seeds is each side's standard deviation.

McNemar's test needs one decision per clip (or labeled frame): that of the mean probability over
seeds. Counting every seed's decision would count each clip several times, and the p-value would be
too small. The test is also reported per seed, for seeds that both sides have.
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
from arpgnet.pipeline.evaluate.units import interval_units
from arpgnet.pipeline.tables.predictions import Predictions

COMPARED = ("uar", "war", "macro_f1")


def compare(a: Side, b: Side, params: EvaluateParams, *, common: bool = False) -> dict[str, Any]:
    """Compare two runs.

    Args:
        params: how clips without a prediction count, and the interval.
        common: compare on the common test clips if the two have different ones.

    Returns:
        Numbers and names, ready for JSON: `a`, `b` (which run), `clips`, `units` (how many clips or
        labeled frames are scored, and which: `scored`), `left_out`, `interval_unit`,
        `intervals_over`, the settings, `scores` (per score `a`, `b` and `difference` with `ci_low`,
        `ci_high`, `p`), `mcnemar` and `mcnemar_by_seed`.

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
    if params.missing == "skip" and any((r.predicted < 0).all() for r in (rows_a, rows_b)):
        raise UserError("evaluate.missing: skip leaves no clip: one side has no predictions")
    scored_a, scored_b = (score_model(rows, units, params) for rows in (rows_a, rows_b))
    of_a, of_b = (spread(scored, params, only=COMPARED) for scored in (scored_a, scored_b))
    difference = spread(scored_b, params, baseline=scored_a, only=COMPARED)
    scores = {}
    for name in COMPARED:
        gap = {key: value for key, value in difference[name].items() if key != "std"}
        gap["p"] = two_sided_p(scored_b.draws[name] - scored_a.draws[name])
        scores[name] = {"a": of_a[name], "b": of_b[name], "difference": gap}
    result = {
        "a": _side(a, scored_a.seeds),
        "b": _side(b, scored_b.seeds),
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
        "mcnemar": _mcnemar(rows_a, rows_b, params),
        "mcnemar_by_seed": {
            str(seed): _mcnemar(
                rows_a.select(rows_a.seed == seed), rows_b.select(rows_b.seed == seed), params
            )
            for seed in sorted(set(scored_a.seeds) & set(scored_b.seeds))
        },
    }
    return rounded(result)


def _side(side: Side, seeds: list[int]) -> dict[str, Any]:
    return {"name": side.name, "seeds": seeds, "predictions_sha256": side.sha256}


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
