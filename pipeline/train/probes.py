"""Baselines that a network has to beat: the majority class and logistic regression.

`logreg_embedding` sees the embedding averaged over a clip's valid frames, `logreg_map` the feature
map averaged over frames and cells, `logreg_map_grid` every region's features averaged over frames.
None of them sees a graph or the course over time. The regularisation is chosen on validation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.train.data import Features
from pipeline.train.folds import Fold
from pipeline.train.recall import unweighted_recall

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
# above this many numbers (400 MB of float64) the grid is no cheap baseline any more
GRID_VALUES = 50_000_000


def clip_inputs(features: Features) -> dict[str, np.ndarray]:
    """What each probe sees of every clip: float64 [M, features] by probe name."""
    inputs = {
        "logreg_embedding": mean_over_frames(features.embedding, features.valid),
        "logreg_map": mean_over_frames(features.map_vector, features.valid),
    }
    clips, _, regions, channels = features.nodes.shape
    if clips * regions * channels <= GRID_VALUES:
        grid = mean_over_frames(features.nodes.flatten(2), features.valid)
        inputs["logreg_map_grid"] = grid
    return inputs


def mean_over_frames(value_MTF: Tensor, valid_MT: Tensor) -> np.ndarray:
    """Mean of each feature over the valid frames of each clip; zeros where there is none."""
    rows = []
    for value, valid in zip(value_MTF.split(64), valid_MT.split(64), strict=True):
        # invalid frames hold zeros: the plain sum is the sum over valid ones
        total = value.double().sum(1)
        rows.append((total / valid.sum(1, keepdim=True).clamp(min=1)).cpu())
    return torch.cat(rows).numpy()


def majority(label: np.ndarray, fold: Fold, classes: int) -> np.ndarray:
    """The training clips' class frequencies for every test clip: float64 [test, classes]."""
    share = np.bincount(label[fold.train], minlength=classes) / len(fold.train)
    return np.tile(share, (len(fold.test), 1))


def logistic_regression(
    inputs: np.ndarray, label: np.ndarray, fold: Fold, *, balanced: bool
) -> np.ndarray:
    """Multinomial logistic regression on standardised features.

    Args:
        inputs: float64 [M, features].
        label: int [M]; every class occurs among the training clips.
        balanced: weight classes inversely to their training counts.

    Returns:
        Probabilities of the test clips, float64 [test, classes].
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    scaler = StandardScaler().fit(inputs[fold.train])
    train, val, test = (scaler.transform(inputs[p]) for p in (fold.train, fold.val, fold.test))
    if train.shape[1] > train.shape[0]:
        # with an L2 penalty the solution lies in the span of the training clips: rotating into
        # it gives the same probabilities from far fewer numbers
        basis = np.linalg.svd(train, full_matrices=False)[2].T
        train, val, test = train @ basis, val @ basis, test @ basis
    best_uar, best = -1.0, None
    for strength in STRENGTHS:
        weight = "balanced" if balanced else None
        model = LogisticRegression(C=strength, max_iter=1000, class_weight=weight)
        # a few hundred clips: threads would only wait for each other, and change last digits
        with threadpool_limits(1):
            model.fit(train, label[fold.train])
        uar = unweighted_recall(label[fold.val], model.predict(val))
        if uar > best_uar:
            best_uar, best = uar, model
    assert best is not None
    probabilities: np.ndarray = best.predict_proba(test)
    return probabilities
