"""The scores of two runs that predict target values, over all targets and each.

The p-value is that of the paired bootstrap, which McNemar's test of single decisions has no
counterpart of: F1, ICC and CCC are of the whole test part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.evaluate.bootstrap import interval, two_sided_p
from arpgnet.pipeline.evaluate.summary import mean_std
from arpgnet.pipeline.evaluate.target_metrics import MEASURES, Measures, over_outputs
from arpgnet.pipeline.evaluate.targets import Scored, decided, score_targets
from arpgnet.pipeline.evaluate.units import Units
from arpgnet.pipeline.tables.predictions import TargetPredictions


def compare_targets(a: Side, b: Side, units: Units, params: EvaluateParams) -> dict[str, Any]:
    """Return `scores` and `per_output` of two paired sides; see `run.compare`.

    Raises:
        UserError: a side has no predictions, or no target has a score.
    """
    measures = MEASURES[a.kind]
    scored_a, scored_b = (_scored(side, units, measures, params) for side in (a, b))
    scores: dict[str, Any] = {}
    each: dict[str, dict[str, Any]] = {name: {} for name in a.outputs}
    for name, score in measures.scores.items():
        values = [score(side.sums) for side in (scored_a, scored_b)]
        draws = [score(side.draws) for side in (scored_a, scored_b)]
        if any(np.isnan(over_outputs(value)).any() for value in values):
            raise UserError(
                f"no target has a {name}: the test part never shows any, or only one value"
            )
        scores[name] = _paired(
            [over_outputs(value) for value in values],
            [over_outputs(draw).mean(axis=1) for draw in draws],
            params,
        )
        for place, output in enumerate(a.outputs):
            each[output][name] = _paired(
                [value[:, place] for value in values],
                [draw[:, :, place].mean(axis=1) for draw in draws],
                params,
            )
    return {"scores": scores, "per_output": each}


def _scored(side: Side, units: Units, measures: Measures, params: EvaluateParams) -> Scored:
    rows, validation = side.test, side.validation
    assert isinstance(rows, TargetPredictions)
    assert validation is not None
    if np.isnan(rows.values).all():
        raise UserError(f"{side.name} has no predictions to compare")
    values = decided(rows, validation, params)[0] if measures.binary else rows.values
    return score_targets(rows, values, units, measures, params)


def _paired(
    values: Sequence[np.ndarray], draws: Sequence[np.ndarray], params: EvaluateParams
) -> dict[str, Any]:
    """Return both sides' mean and interval, and those of their difference, with its p-value.

    Args:
        values: of A and B, a score of each seed.
        draws: of A and B, that of each resample, the mean over seeds.
    """
    (a, b), (draws_a, draws_b) = values, draws
    gap = draws_b - draws_a
    return {
        "a": mean_std(a) | _ends(draws_a, params),
        "b": mean_std(b) | _ends(draws_b, params),
        "difference": {
            "mean": float(b.mean() - a.mean()),
            **_ends(gap, params),
            "p": two_sided_p(gap) if not np.isnan(gap).all() else float("nan"),
        },
    }


def _ends(draws: np.ndarray, params: EvaluateParams) -> dict[str, float]:
    if np.isnan(draws).all():
        # a unit that the test part never shows has no F1
        return {"ci_low": float("nan"), "ci_high": float("nan")}
    low, high = interval(draws, params.confidence)
    return {"ci_low": low, "ci_high": high}
