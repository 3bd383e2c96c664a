"""`task.also`: tasks that the same network learns beside that of `task.kind`.

They share everything but a linear head of their own, whose outputs are those of all further tasks
in their order. The main task alone selects, is calibrated and smoothed; what is not annotated is
masked in each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from arpgnet.pipeline.common.errors import UserError
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


def check_unit(main: tuple[Kind, Labels], further: Kind, labels: Labels) -> None:
    """Refuse labels of frames beside labels of clips.

    Raises:
        UserError: one task has these, the other those.
    """
    kind, theirs = main
    if (theirs.of_frames is None) == (labels.of_frames is None):
        return
    units = {kind.name: theirs, further.name: labels}
    said = [f"{name} of {'clips' if one.of_frames is None else 'frames'}"
            for name, one in units.items()]  # fmt: skip
    raise UserError(
        f"task.also: this data has labels for {' and for '.join(said)}; one network learns both "
        "only where both are of clips or both of frames: leave out one"
    )


@dataclass(frozen=True)
class FurtherLosses:
    """The loss of all further tasks of a run: the sum of their weighted means over what is
    annotated.

    Attributes:
        objectives, widths, weights: of each task its loss, how many outputs are its own, and the
            weight of its mean.
    """

    objectives: Sequence[Objective]
    widths: Sequence[int]
    weights: Sequence[float]

    def loss(self, logits: Tensor, labels: Sequence[Tensor], totals: Sequence[float]) -> Tensor:
        """Return the loss.

        Args:
            logits: [..., J] of all tasks together.
            labels: of each task.
            totals: what the sum over a task's labels is divided by (`Objective.weight`).
        """
        found = logits.new_zeros(())
        parts = logits.split(list(self.widths), dim=-1)
        for objective, part, label, weight, total in zip(
            self.objectives, parts, labels, self.weights, totals, strict=True
        ):
            found = found + weight * objective.loss(part, label) / (total or 1.0)
        return found
