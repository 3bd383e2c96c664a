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
