"""Scores per group of people that a data set labels (gender, age, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.summary import rounded, score_model, spread
from arpgnet.pipeline.evaluate.units import interval_units
from arpgnet.pipeline.tables.predictions import Predictions

SHOWN = ("uar", "war")
# below these a score says more about chance, or about one person, than about the group
FEWEST_CLIPS = 10
FEWEST_SUBJECTS = 2


def trait_scores(
    rows: Predictions,
    clips: Sequence[Mapping[str, Any]],
    params: EvaluateParams,
) -> dict[str, Any]:
    """Compute UAR and WAR of each value of each trait, with the same kind of intervals as overall.

    Args:
        rows: one model's test predictions.
        clips: `units.origins` of every clip of the manifest, with `traits`, which maps a trait to
            its value.

    Returns:
        `fewest_clips` and `fewest_subjects` of a group that is scored; and in `tables` for each
        trait, by name: `trait`, `unnamed` (test clips that do not say) and `rows`, by value:
        `value`, `clips`, `subjects`, and, where it is scored, `uar` and `war` as `spread` gives
        them, and what was drawn for the interval, `unit`.
    """
    tested = set(rows.clip_id)
    present = [clip for clip in clips if clip["clip_id"] in tested]
    found = []
    for trait in sorted({name for clip in present for name in clip["traits"]}):
        by_value: dict[str, list[Mapping[str, Any]]] = {}
        for clip in present:
            if trait in clip["traits"]:
                by_value.setdefault(clip["traits"][trait], []).append(clip)
        found.append(
            {
                "trait": trait,
                "unnamed": len(present) - sum(map(len, by_value.values())),
                "rows": [
                    {"value": value, **_score(rows, by_value[value], params)}
                    for value in sorted(by_value)
                ],
            }
        )
    return {
        "fewest_clips": FEWEST_CLIPS,
        "fewest_subjects": FEWEST_SUBJECTS,
        "tables": rounded(found),
    }


def _score(
    rows: Predictions, clips: Sequence[Mapping[str, Any]], params: EvaluateParams
) -> dict[str, Any]:
    subjects = {clip["subject"] for clip in clips if clip["subject"]}
    counted: dict[str, Any] = {"clips": len(clips), "subjects": len(subjects)}
    if len(clips) < FEWEST_CLIPS or len(subjects) < FEWEST_SUBJECTS:
        return counted
    names = {clip["clip_id"] for clip in clips}
    own = rows.select(np.array([clip in names for clip in rows.clip_id], dtype=bool))
    if params.missing == "skip" and (own.predicted < 0).all():
        return counted
    units = interval_units(clips)
    scored = spread(score_model(own, units, params), params, only=SHOWN)
    return counted | {"unit": units.name, **scored}
