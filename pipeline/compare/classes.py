"""The scores of two runs that predict classes, and McNemar's test.

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
from arpgnet.pipeline.compare.pairing import Key, keys
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.evaluate.bootstrap import two_sided_p
from arpgnet.pipeline.evaluate.summary import score_model, spread
from arpgnet.pipeline.evaluate.units import Units
from arpgnet.pipeline.tables.predictions import Predictions

COMPARED = ("uar", "war", "macro_f1")


def compare_classes(a: Side, b: Side, units: Units, params: EvaluateParams) -> dict[str, Any]:
    """Return `scores`, `mcnemar` and `mcnemar_by_seed` of two paired sides; see `run.compare`.

    Raises:
        UserError: no clip is left to score.
    """
    rows_a, rows_b = a.test, b.test
    assert isinstance(rows_a, Predictions)
    assert isinstance(rows_b, Predictions)
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
    return {
        "scores": scores,
        "mcnemar": _mcnemar(rows_a, rows_b, params),
        "mcnemar_by_seed": {
            str(seed): _mcnemar(
                rows_a.select(rows_a.seed == seed), rows_b.select(rows_b.seed == seed), params
            )
            for seed in sorted(set(scored_a.seeds) & set(scored_b.seeds))
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
