"""The scores that select: epochs of the network, strengths of the probes.

Counted here: scikit-learn, which gives the same numbers, takes 2 s to import, in every process.
"""

from __future__ import annotations

import numpy as np


def unweighted_recall(label: np.ndarray, predicted: np.ndarray) -> float:
    """Compute UAR: mean recall over the classes of `label`; int [U] each, predicted -1 for none."""
    hits, support, _ = _counts(label, predicted)
    return float((hits / support).mean())


def macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes of `label`; int [U] each, predicted -1 for none."""
    hits, support, claimed = _counts(label, predicted)
    return float((2 * hits / (support + claimed)).mean())


def _counts(label: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count for each class of `label`: correct predictions, occurrences, and predictions."""
    occurs = np.unique(label)
    # one more: -1 counts in no class
    length = 2 + max(label.max(initial=0), predicted.max(initial=0))
    counts = (
        np.bincount(values + 1, minlength=length)[occurs + 1]
        for values in (label[label == predicted], label, predicted)
    )
    hits, support, claimed = counts
    return hits, support, claimed


def binary_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """Compute F1 of presence; bool [U] each. NaN where nothing is present."""
    if not label.any():
        return float("nan")
    return float(2 * (label & predicted).sum() / (label.sum() + predicted.sum()))


def concordance(label: np.ndarray, predicted: np.ndarray) -> float:
    """Compute Lin's concordance correlation coefficient (Biometrics 1989); float [U] each.

    NaN where neither varies.
    """
    if not len(label):
        return float("nan")
    moved = (label.mean() - predicted.mean()) ** 2
    spread = label.var() + predicted.var() + moved
    shared = ((label - label.mean()) * (predicted - predicted.mean())).mean()
    return float(2 * shared / spread) if spread > 0 else float("nan")


def intraclass_correlation(label: np.ndarray, predicted: np.ndarray) -> float:
    """Compute ICC(3,1) of two raters (Shrout and Fleiss 1979); float [U] each.

    With two raters the mean squares between targets and of the rest reduce to variances: twice
    the covariance over the sum of both variances. NaN where neither varies.
    """
    if not len(label):
        return float("nan")
    spread = label.var() + predicted.var()
    shared = ((label - label.mean()) * (predicted - predicted.mean())).mean()
    return float(2 * shared / spread) if spread > 0 else float("nan")
