"""From which probability on an action unit counts as present: 0.5, or what validation chooses.

Evaluation and the trained network choose by the same function: what is scored is what `predict`
then calls present.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.tables.facs import PRESENT

# the task that has thresholds, and its value where none is chosen
THRESHOLDED = "action_units"
FIXED = PRESENT[THRESHOLDED]


def best_thresholds(target: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the threshold of each unit with the best F1: float64 [A].

    The middle between two neighboring predictions, of equal F1 the one nearest to 0.5, which it
    also is for a unit that is never present.

    Args:
        target, values: float [U, A], annotations and probabilities.
    """
    found = np.full(target.shape[1], FIXED)
    for unit in range(target.shape[1]):
        known = ~np.isnan(target[:, unit]) & ~np.isnan(values[:, unit])
        true, value = target[known, unit] > 0.5, values[known, unit]
        if not true.any():
            continue
        steps = np.unique(value)
        candidates = np.append((steps[1:] + steps[:-1]) / 2, FIXED)
        # how many of the present, and of all, have at least this probability
        order = np.sort(value)
        present = np.sort(value[true])
        claimed = len(order) - np.searchsorted(order, candidates)
        hits = len(present) - np.searchsorted(present, candidates)
        score = 2 * hits / (claimed + len(present))
        best = np.flatnonzero(score >= score.max() - 1e-12)
        found[unit] = candidates[best[np.abs(candidates[best] - FIXED).argmin()]]
    return found
