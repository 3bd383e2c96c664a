"""Scores per subject: a mean over people hides those for whom a network does not work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from arpgnet.pipeline.evaluate.metrics import Missing, scores
from arpgnet.pipeline.tables.predictions import Predictions

SHOWN = ("uar", "war")
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def subject_scores(
    rows: Predictions, subject_of: Mapping[str, str | None], missing: Missing
) -> dict[str, Any]:
    """Compute UAR and WAR of each subject's test clips, averaged over seeds.

    Args:
        rows: one model's test predictions.
        subject_of: each clip's subject, None where it is unknown.
        missing: how clips without a prediction count.

    Returns:
        `rows`, by rising UAR: `subject`, `clips`, `predictions` (of one seed: clips or labeled
        frames), `uar`, `war` (NaN, and last, where nothing is left to count); `unnamed`, the clips
        without a subject; and `quartiles`, each score's lowest, its quartiles and its highest.
    """
    seeds = np.unique(rows.seed)
    clips = set(rows.clip_id)
    named = {clip: name for clip in clips if (name := subject_of.get(clip))}
    rows = rows.select(np.array([clip in named for clip in rows.clip_id], dtype=bool))
    names = sorted(set(named.values()))
    number = {name: index for index, name in enumerate(names)}
    subject = np.array([number[named[clip]] for clip in rows.clip_id], dtype=np.int64)
    classes = len(rows.classes)
    column = np.where(rows.predicted < 0, classes, rows.predicted)
    counts = np.zeros((len(names), len(seeds), classes, classes + 1), dtype=np.int64)
    np.add.at(counts, (subject, np.searchsorted(seeds, rows.seed), rows.label, column), 1)
    values = {key: value.mean(axis=1) for key, value in scores(counts, missing).items()}
    of_subject = Counter(named.values())
    found: list[dict[str, Any]] = [
        {
            "subject": name,
            "clips": of_subject[name],
            "predictions": int(counts[index, 0].sum()),
            **{score: float(values[score][index]) for score in SHOWN},
        }
        for index, name in enumerate(names)
    ]
    found.sort(key=lambda row: (math.isnan(row["uar"]), row["uar"], row["war"], row["subject"]))
    return {
        "rows": found,
        "unnamed": len(clips) - len(named),
        "quartiles": {score: _quartiles(values[score]) for score in SHOWN},
    }


def _quartiles(values: np.ndarray) -> list[float]:
    known = values[~np.isnan(values)]
    quartiles: list[float] = np.quantile(known, QUARTILES).tolist() if len(known) else []
    return quartiles
