"""The field's metrics as functions of confusion counts, so that one formula serves the
point estimate, every seed and every bootstrap resample at once.

A confusion array has shape `[..., K, K + 1]`: row = true class, column = predicted class, the
last column counts clips without a prediction. Leading axes (resamples, seeds) are free.

WAR (weighted average recall) is accuracy. UAR (unweighted average recall) is the mean of the
per-class recalls over the classes that occur (Schuller et al., Interspeech 2009 Emotion
Challenge). Macro-F1 is the mean of the per-class F1 over the same classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Missing = Literal["wrong", "skip"]
SCORES = ("war", "uar", "macro_f1", "coverage")
ECE_BINS = 15
# ABAW 2020 and 2021: 0.67 macro-F1 + 0.33 accuracy (Kollias et al., arXiv:2106.15318)
F1_SHARE = 0.67


def confusion_counts(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pairs of true and predicted class.

    Args:
        label: int `[clips]`, true class.
        predicted: int `[clips]`, predicted class or -1 for none.
        classes: K.

    Returns:
        int64 `[K, K + 1]`.
    """
    column = np.where(predicted < 0, classes, predicted)
    flat = np.bincount(label * (classes + 1) + column, minlength=classes * (classes + 1))
    return flat.reshape(classes, classes + 1).astype(np.int64)


def per_class(confusion: np.ndarray, missing: Missing) -> dict[str, np.ndarray]:
    """Recall, precision, F1 and support of every class.

    Returns:
        float64 arrays `[..., K]`; recall is NaN where a class does not occur, precision is 0
        where a class is never predicted. `support` counts the clips that recall divides by.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    square = counts[..., :-1]
    support = (counts if missing == "wrong" else square).sum(axis=-1)
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    claimed = square.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / support
        precision = np.where(claimed > 0, hits / claimed, 0.0)
        f1 = np.where(support > 0, 2 * hits / (support + claimed), np.nan)
    return {"recall": recall, "precision": precision, "f1": f1, "support": support}


def scores(confusion: np.ndarray, missing: Missing) -> dict[str, np.ndarray]:
    """WAR, UAR, macro-F1, the expression score of the ABAW challenges of 2020 and 2021, coverage.

    Args:
        confusion: counts `[..., K, K + 1]`.
        missing: clips without a prediction count as `wrong`, or `skip` them.

    Returns:
        float64 arrays of the leading shape; NaN where no clip is left to count.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    classes = per_class(counts, missing)
    occurs = classes["support"] > 0
    hits = np.diagonal(counts[..., :-1], axis1=-2, axis2=-1).sum(axis=-1)
    predicted = counts[..., :-1].sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        number = occurs.sum(axis=-1)
        war = hits / classes["support"].sum(axis=-1)
        macro_f1 = np.where(occurs, classes["f1"], 0.0).sum(axis=-1) / number
        return {
            "war": war,
            "uar": np.where(occurs, classes["recall"], 0.0).sum(axis=-1) / number,
            "macro_f1": macro_f1,
            "abaw2": F1_SHARE * macro_f1 + (1 - F1_SHARE) * war,
            "coverage": predicted / counts.sum(axis=(-2, -1)),
        }


def overconfidence(label: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean probability of the predicted class minus accuracy.

    Clips without a prediction are left out.

    Args:
        label: int `[clips]`.
        probabilities: float `[clips, K]`, NaN rows for clips without a prediction.

    Returns:
        A value in -1..1, above zero if the network is overconfident; NaN without any prediction.
    """
    known = ~np.isnan(probabilities).any(axis=1)
    if not known.any():
        return float("nan")
    right = probabilities[known].argmax(axis=1) == label[known]
    return float(probabilities[known].max(axis=1).mean() - right.mean())


def calibration_error(label: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the most probable class over equal-width bins
    (Guo et al., ICML 2017, equation 3). Clips without a prediction are left out.

    Args:
        label: int `[clips]`.
        probabilities: float `[clips, K]`, NaN rows for clips without a prediction.

    Returns:
        A value in 0..1, or NaN when no clip has a prediction.
    """
    known = ~np.isnan(probabilities).any(axis=1)
    if not known.any():
        return float("nan")
    confidence = probabilities[known].max(axis=1)
    correct = probabilities[known].argmax(axis=1) == label[known]
    gap = np.bincount(confidence_bin(confidence, bins), weights=confidence - correct)
    return float(np.abs(gap).sum() / known.sum())


def confidence_bin(confidence: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """The number of each probability's bin, of equal width and open below: int, 0..bins - 1."""
    place: np.ndarray = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return place
