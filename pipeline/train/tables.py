"""Predicted values as rows of the predictions table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.tables.predictions import Units, prediction_rows
from arpgnet.pipeline.train.folds import Fold, Part
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.labels import Labels
from arpgnet.pipeline.training.tasks import Task, frame_units


@dataclass(frozen=True)
class Tables:
    """Predicted values as rows of the predictions table."""

    dataset: Dataset
    task: Task
    labels: Labels

    def rows(
        self, fold: Fold, seed: int, part: Part, model: str, probabilities: np.ndarray
    ) -> Iterator[pa.Table]:
        """Yield a part's rows; after the test clips, the quarantined ones without a value."""
        where: dict[str, Any] = {"model": model, "fold": fold.number, "seed": seed, "split": part}
        yield prediction_rows(self.task.units(fold.clips(part)), probabilities, **where)
        if part == "test" and fold.lost:
            yield prediction_rows(self._lost(fold.lost), None, **where)

    def _lost(self, clips: list[str]) -> Units:
        if self.dataset.frame_labels is not None:
            return frame_units(clips, self.dataset)
        label = np.array([self.labels.of_clip[clip] for clip in clips], self.dataset.label.dtype)
        return Units(np.array(clips, dtype=object), label, None)
