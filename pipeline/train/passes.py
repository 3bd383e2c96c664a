"""What a training step learns from: a forward pass of the main task's units, and where further
tasks have labels of the other ones (frames beside clips), a second pass of those.

Each pass has views and batches as its tasks would have alone: clips are seen over their whole
length, frames in windows. Trunk and heads are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from torch import Tensor

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.train.augment import Augment, noise_of
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.kinds.base import Objective
from arpgnet.pipeline.training.kinds.further import FurtherLosses
from arpgnet.pipeline.training.tasks import Task, Views, further_tasks, taught


@dataclass(frozen=True)
class FurtherTask:
    """A further task of a run, with the weight of its loss.

    Attributes:
        place: which of the outputs of all further tasks are its own.
    """

    task: Task
    place: slice
    weight: float


def learned_further(dataset: Dataset, params: TrainParams) -> list[FurtherTask]:
    """Return the further tasks of a run in the order of their outputs."""
    tasks = further_tasks(dataset, params)
    ends = accumulate((len(one.dataset.kind.outputs) for one in tasks), initial=0)
    return [
        FurtherTask(task, slice(start, end), labels.weight)
        for task, (start, end), labels in zip(tasks, pairwise(ends), dataset.further, strict=True)
    ]


@dataclass(frozen=True)
class Pass:
    """Views of clips or of frames, and the tasks that learn from them.

    Attributes:
        task: cuts the views: the main task, or the first of further ones with the other units.
        objective: the main task's loss; None: further tasks alone learn from these views.
        further: the further tasks with labels of these units.
        losses: theirs.
        augment: of a batch.
    """

    task: Task
    objective: Objective | None
    further: Sequence[Task]
    losses: FurtherLosses
    augment: Augment

    @classmethod
    def of(
        cls,
        further: Sequence[FurtherTask],
        main: Task | None,
        fold: Fold,
        learned: np.ndarray,
        params: TrainParams,
        augment: Callable[[float], Augment],
    ) -> Pass:
        """Make a pass of tasks with labels of the same units.

        Args:
            main: the main task, if it has these units.
            learned: the clips that are learned from: the training part, or more.
            augment: makes the augmentation with some noise.
        """
        tasks = [one.task for one in further]

        def views(clips: np.ndarray) -> Views:
            return training_views(main, tasks, clips, np.random.default_rng(0))

        shown = views(learned)
        every = [
            task.dataset.kind.objective(task.labels(shown), params)
            for task in (tasks if main is None else [main, *tasks])
        ]
        own = None if main is None else every.pop(0)
        losses = FurtherLosses(
            every, [one.place for one in further], [one.weight for one in further]
        )
        # of as many examples as these units have; where it is refitted that of the first fit, which
        # validation has seen
        noise = noise_of(params, len(views(fold.train)))
        return cls(main or tasks[0], own, tasks, losses, augment(noise))

    def views(self, clips: np.ndarray, rng: np.random.Generator) -> Views:
        """Return the views of one epoch."""
        main = None if self.objective is None else self.task
        return training_views(main, self.further, clips, rng)

    def loss(
        self,
        logits: tuple[Tensor, Tensor | None],
        label: Tensor,
        others: Sequence[Tensor],
        batch: tuple[np.ndarray, Sequence[np.ndarray]],
    ) -> Tensor:
        """Return the loss of a batch, or of this process's part of it.

        Args:
            logits: the main task's, and those of all further tasks together.
            label, others: the labels of `task`, and of each further task.
            batch: those of the whole batch, by whose weight the sums are divided.
        """
        own, all_further = logits
        parts = []
        if self.objective is not None:
            weight = self.objective.weight(batch[0])
            parts.append(self.objective.loss(own, label) / (weight or 1.0))
        if self.further:
            assert all_further is not None
            pairs = zip(self.losses.objectives, batch[1], strict=True)
            totals = [objective.weight(labels) for objective, labels in pairs]
            parts.append(self.losses.loss(all_further, others, totals))
        first, *rest = parts
        return sum(rest, first)


def training_views(
    main: Task | None, further: Sequence[Task], clips: np.ndarray, rng: np.random.Generator
) -> Views:
    """Return the views of an epoch of the main task; without it those that show a label of any of
    the further tasks."""
    if main is not None:
        return main.training(clips, rng)
    return taught(further[0].shown(clips, rng), further)
