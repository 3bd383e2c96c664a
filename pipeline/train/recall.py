"""The score that selects: epochs of the network, strengths of the probes."""

from __future__ import annotations

import numpy as np


def unweighted_recall(label: np.ndarray, predicted: np.ndarray) -> float:
    """UAR: mean recall over the classes that occur in `label`; int [M] each."""
    from sklearn.metrics import recall_score

    return float(
        recall_score(label, predicted, labels=np.unique(label), average="macro", zero_division=0)
    )
