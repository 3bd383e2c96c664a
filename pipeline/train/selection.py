"""The scores that select: epochs of the network, strengths of the probes."""

from __future__ import annotations

import numpy as np


def unweighted_recall(label: np.ndarray, predicted: np.ndarray) -> float:
    """UAR: mean recall over the classes of `label`; int [U] each, predicted -1 for none."""
    from sklearn.metrics import recall_score

    return float(
        recall_score(label, predicted, labels=np.unique(label), average="macro", zero_division=0)
    )


def macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes of `label`; int [U] each, predicted -1 for none."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(label, predicted, labels=np.unique(label), average="macro", zero_division=0)
    )
