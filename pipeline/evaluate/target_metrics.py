"""Scores of action units, intensities, valence and arousal, as functions of sums over units.

Sums add up over clips, so that one formula serves the point estimate, every seed and every
bootstrap resample at once. Shapes: `[..., A, S]`, A outputs and S sums; leading axes (resamples,
seeds) are free. NaN stands for a score that is not defined.

F1 is counted over the whole test part, not averaged over videos. ICC(3,1): two-way mixed, single
rater, consistency (Shrout and Fleiss, Psychological Bulletin 1979). CCC: Lin, Biometrics 1989.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Missing = Literal["wrong", "skip"]
Score = Callable[[np.ndarray], np.ndarray]


def presence_sums(target: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return true positives, false positives, false negatives and true negatives of each unit.

    Args:
        target: float [U, A], 0 or 1, NaN where not annotated.
        present: float [U, A], what is predicted, 0 or 1; NaN is not counted.

    Returns:
        float64 [U, A, 4].
    """
    known = ~np.isnan(target) & ~np.isnan(present)
    true, claimed = target > 0.5, present > 0.5
    cells = (true & claimed, ~true & claimed, true & ~claimed, ~true & ~claimed)
    return np.stack([cell & known for cell in cells], axis=-1).astype(np.float64)


def f1(sums: np.ndarray) -> np.ndarray:
    """Return F1 of presence; NaN for a unit that is never present."""
    hits, false, missed, _ = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(hits + missed > 0, 2 * hits / (2 * hits + false + missed), np.nan)


def value_sums(target: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return of each unit's pair (x annotated, y predicted): 1, x, y, xx, yy, xy and |x - y|.

    Args:
        target, values: float [U, A]; where either is NaN, nothing is counted.

    Returns:
        float64 [U, A, 7].
    """
    known = ~np.isnan(target) & ~np.isnan(values)
    x, y = np.where(known, target, 0.0), np.where(known, values, 0.0)
    return np.stack([known * 1.0, x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)


def _moments(sums: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return both means, both variances and the covariance (all divided by the number)."""
    count, x, y, xx, yy, xy, _ = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = x / count, y / count
        # not below zero by rounding
        var_x = np.maximum(xx / count - mean_x**2, 0)
        var_y = np.maximum(yy / count - mean_y**2, 0)
        return mean_x, mean_y, var_x, var_y, xy / count - mean_x * mean_y


def icc(sums: np.ndarray) -> np.ndarray:
    """Return ICC(3,1) between annotation and prediction.

    With two raters the mean squares reduce to variances: 2 cov / (var_x + var_y).
    """
    _, _, var_x, var_y, shared = _moments(sums)
    return _ratio(2 * shared, var_x + var_y)


def ccc(sums: np.ndarray) -> np.ndarray:
    """Return Lin's concordance correlation coefficient."""
    mean_x, mean_y, var_x, var_y, shared = _moments(sums)
    return _ratio(2 * shared, var_x + var_y + (mean_x - mean_y) ** 2)


def mae(sums: np.ndarray) -> np.ndarray:
    """Return the mean absolute error."""
    return _ratio(sums[..., 6], sums[..., 0])


def rmse(sums: np.ndarray) -> np.ndarray:
    """Return the root of the mean squared error."""
    squared = sums[..., 3] + sums[..., 4] - 2 * sums[..., 5]
    return np.sqrt(_ratio(np.maximum(squared, 0), sums[..., 0]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 1e-12, part / whole, np.nan)


@dataclass(frozen=True)
class Measures:
    """How a task is scored: `scores` of each output, the first of which ranks models (higher is
    better); `sums` that they are computed from."""

    sums: Callable[[np.ndarray, np.ndarray], np.ndarray]
    scores: dict[str, Score]
    binary: bool = False

    @property
    def first(self) -> str:
        return next(iter(self.scores))


MEASURES = {
    "action_units": Measures(presence_sums, {"f1": f1}, binary=True),
    "intensity": Measures(value_sums, {"icc": icc, "mae": mae}),
    "valence_arousal": Measures(value_sums, {"ccc": ccc, "rmse": rmse}),
}


def over_outputs(values: np.ndarray) -> np.ndarray:
    """Average scores [..., A] over the outputs that have one; NaN where none has."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
