"""The scores that select are scikit-learn's."""

import numpy as np
from sklearn.metrics import f1_score, recall_score

from arpgnet.pipeline.training.selection import macro_f1, unweighted_recall


def test_scores_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        units, classes = rng.integers(1, 60), rng.integers(1, 9)
        label = rng.integers(0, classes, units)
        # some have no prediction, some the one of a class that does not occur
        predicted = rng.integers(-1, classes + 1, units)
        like = {"labels": np.unique(label), "average": "macro", "zero_division": 0}
        assert unweighted_recall(label, predicted) == recall_score(label, predicted, **like)
        assert macro_f1(label, predicted) == f1_score(label, predicted, **like)
