"""Reliability diagram: accuracy as a function of confidence.

Bins are those of the expected calibration error (Guo et al., ICML 2017, section 2). Predictions of
all seeds are pooled, not averaged: averaged probabilities would be those of an ensemble, which
nobody uses as one network.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arpgnet.pipeline.evaluate.bootstrap import interval, resample_confusions
from arpgnet.pipeline.evaluate.metrics import ECE_BINS, confidence_bin


def reliability(
    label: np.ndarray,
    probabilities: np.ndarray,
    unit: np.ndarray,
    *,
    resamples: int,
    confidence: float,
    bins: int = ECE_BINS,
) -> list[dict[str, Any]]:
    """Describe each non-empty bin of the predicted class's probability, in rising order.

    Args:
        label: int `[rows]`.
        probabilities: float `[rows, K]`, NaN rows for those without a prediction.
        unit: int `[rows]`, what the bootstrap resamples (the row's subject).
        resamples, confidence: of the intervals.

    Returns:
        `from`, `to` (limits of the bin), `predictions` (how many), `confidence` (their mean),
        `correct` (accuracy, 0..1), and `ci_low`, `ci_high` of it where at least two units have
        predictions in the bin.
    """
    known = ~np.isnan(probabilities).any(axis=1)
    if not known.any():
        return []
    certainty = probabilities[known].max(axis=1)
    correct = probabilities[known].argmax(axis=1) == label[known]
    place = confidence_bin(certainty, bins)
    units, of_row = np.unique(unit[known], return_inverse=True)
    # of each unit and bin: predictions, their summed confidence, how many are correct
    counts = np.zeros((len(units), bins, 3))
    values = np.column_stack([np.ones(len(certainty)), certainty, correct])
    np.add.at(counts, (of_row, place), values)
    drawn = resample_confusions(counts, resamples)
    found = []
    for number in np.flatnonzero(counts[..., 0].sum(axis=0)):
        total, summed, hits = counts[:, number].sum(axis=0)
        row = {
            "from": number / bins,
            "to": (number + 1) / bins,
            "predictions": int(total),
            "confidence": summed / total,
            "correct": hits / total,
        }
        if (counts[:, number, 0] > 0).sum() > 1:
            with np.errstate(invalid="ignore"):
                share = drawn[:, number, 2] / drawn[:, number, 0]
            row["ci_low"], row["ci_high"] = interval(share, confidence)
        found.append(row)
    return found
