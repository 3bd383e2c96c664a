"""From which probability on a run's action units count as present, for its file."""

from __future__ import annotations

from typing import Any

import numpy as np

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.tables.thresholds import THRESHOLDED, best_thresholds
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.training.tasks import Task


def run_thresholds(
    params: EvaluateParams, task: Task, fold: Fold, values: np.ndarray
) -> dict[str, Any]:
    """Choose a run's thresholds of a task; return what its file says of them, under `thresholds`.

    Nothing where the settings choose none, or the task has no units to be present.

    Args:
        values: predictions of the fold's validation part [U, A], as evaluation gets them.
    """
    if params.threshold == "fixed" or task.dataset.kind.name != THRESHOLDED:
        return {}
    target = task.units(fold.val).label
    # float32, as the table of predictions has them: evaluation then chooses the same
    return {"thresholds": best_thresholds(target, values.astype(np.float32)).tolist()}
