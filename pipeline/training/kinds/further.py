"""`task.also`: tasks that the same network learns beside that of `task.kind`.

They share everything but a linear head of their own, whose outputs are those of all further tasks
in their order. As the main head it is shown the mean over time where clips have labels, and each
frame where frames have. The main task alone selects, is calibrated and smoothed; what is not
annotated is masked in each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from arpgnet.pipeline.training.kinds.base import Kind, Objective
from arpgnet.pipeline.training.labels import FrameLabels, Labels


@dataclass(frozen=True)
class Further:
    """A further task, its labels, and the weight of its loss."""

    kind: Kind
    labels: Labels
    weight: float


@dataclass(frozen=True)
class FurtherLabels:
    """A further task on the clips of a data set: `label` and `frame_labels` as `Dataset` has them
    of the main task, blank where a clip has none, and all `labels`, of quarantined clips too."""

    kind: Kind
    label: np.ndarray
    frame_labels: dict[str, FrameLabels] | None
    weight: float
    labels: Labels

    @classmethod
    def of(cls, further: Further, clip_ids: Sequence[str]) -> FurtherLabels:
        """Arrange the labels by the clips of a data set."""
        kind, labels = further.kind, further.labels
        classes = kind.probe == "classes"
        blank = -1 if classes else np.full(len(kind.outputs), np.nan)
        label = np.array(
            [labels.of_clip.get(clip, blank) for clip in clip_ids],
            np.int64 if classes else np.float32,
        )
        of_frames = labels.of_frames
        if of_frames is not None:
            nothing = FrameLabels(np.zeros(0, np.int64), label[:0])
            of_frames = {**dict.fromkeys(clip_ids, nothing), **of_frames}
        return cls(kind, label, of_frames, further.weight, labels)


@dataclass(frozen=True)
class FurtherLosses:
    """The loss of further tasks with the same units: the sum of their weighted means over what is
    annotated.

    Attributes:
        objectives, places, weights: of each task its loss, which outputs are its own, and the
            weight of its mean.
    """

    objectives: Sequence[Objective]
    places: Sequence[slice]
    weights: Sequence[float]

    def loss(self, logits: Tensor, labels: Sequence[Tensor], totals: Sequence[float]) -> Tensor:
        """Return the loss.

        Args:
            logits: [..., J] of all further tasks together.
            labels: of each task.
            totals: what the sum over a task's labels is divided by (`Objective.weight`).
        """
        found = logits.new_zeros(())
        for objective, place, label, weight, total in zip(
            self.objectives, self.places, labels, self.weights, totals, strict=True
        ):
            found = found + weight * objective.loss(logits[..., place], label) / (total or 1.0)
        return found
