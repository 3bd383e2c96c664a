"""What the files of a finished run say of it, beside its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.train.augment import noise_of
from arpgnet.pipeline.train.fit import steps_of_epoch
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.train.further import FurtherTables
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.train.smooth import Smoothings
from arpgnet.pipeline.train.thresholds import run_thresholds
from arpgnet.pipeline.train.training import Outcome, Planned
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.domain import MANY, MOST_VIEWS, Domain, view_means
from arpgnet.pipeline.training.tasks import Task


def origin(manifest: Manifest) -> dict[str, Any]:
    """Say what faces the networks are trained on, `rendered` or `people`, of which data sets."""
    sets = manifest.notes.get("sets", [])
    return {
        "faces": "rendered" if manifest.adapters == {"demo"} else "people",
        "sets": [{"title": one["title"], "license": one["license"]} for one in sets],
    }


def improving(history: Sequence[Mapping[str, float]], score: str) -> bool:
    """Check whether the last epoch has a higher score than all before: training ended too early."""
    *before, last = (row[score] for row in history)
    return bool(before) and last > max(before)


@dataclass
class RunInfo:
    """Describes finished runs of one stage run.

    Attributes:
        origin: of the training data, as `origin` returns it.
        settings: the parameters that decide a run's weights.
        smoothings: of each run's predictions of frames, chosen here.
        further: the further tasks, in the order of the network's outputs.
    """

    params: Params
    origin: dict[str, Any]
    settings: dict[str, Any]
    dataset: Dataset
    task: Task
    processes: Processes
    smoothings: Smoothings
    further: Sequence[FurtherTables]
    _domains: dict[int, tuple[Domain, dict[str, float]]] = field(default_factory=dict)

    def of_training(self, one: Planned, outcome: Outcome) -> dict[str, Any]:
        """Return how a run was trained.

        `epochs` of `epoch_steps` steps, of which validation chose `best_epoch`; whether it was
        `improving` at the end; the `feature_noise`; of how many clips the weights are `refitted`
        (0: they are not); the `temperature` by which logits are divided; the `smoothing` of frame
        predictions and the `thresholds` of action units, where there are some.
        """
        examples = len(self.task.training(one.fold.train, np.random.default_rng(0)))
        # a temperature changes no order of classes, and so no choice
        held = outcome.val.plain
        smoothing = self.smoothings.choose(one.fold, one.seed, held)
        held = self.smoothings.apply(one.fold, one.seed, "val", held)
        return {
            "best_epoch": outcome.best,
            "epochs": len(outcome.history),
            "epoch_steps": steps_of_epoch(self.task, one.fold, self.params.train),
            "improving": improving(outcome.history, f"val_{self.task.select}"),
            "refitted": len(one.fold.learned) if outcome.refit else 0,
            "feature_noise": noise_of(self.params.train, examples),
            "temperature": outcome.temperature if self.params.evaluate.calibrate else 1.0,
            **smoothing,
            **run_thresholds(self.params.evaluate, self.task, one.fold, held),
        }

    def of_network(self, one: Planned, outcome: Outcome) -> dict[str, Any]:
        """Return what a network's file says beside `of_training`: what its outputs mean, and what
        it was trained on and with."""
        return {
            "classes": self.dataset.kind.outputs,
            "kind": self.dataset.kind.name,
            **self._further(one, outcome),
            "select": self.task.select,
            "origin": self.origin,
            "params": self.settings,
            "features": self.dataset.metadata,
            "task": self.task.name,
            "fold": one.fold.number,
            "seed": one.seed,
            "validation": outcome.history[outcome.best],
        }

    def _further(self, one: Planned, outcome: Outcome) -> dict[str, Any]:
        """Describe the further tasks: kind, outputs and chosen thresholds; where some have other
        units than the main task, those and the longest view of each, in frames."""
        found = []
        tasks = [another.tables.task for another in self.further]
        for another, task in zip(self.further, tasks, strict=True):
            kind = task.dataset.kind
            fold, values = another.fold(one.fold), outcome.further[f"{kind.name}/val"]
            found.append(
                {"kind": kind.name, "outputs": kind.outputs}
                | ({} if task.name == self.task.name else {"task": task.name})
                | run_thresholds(self.params.evaluate, task, fold, values)
            )
        longest = {task.name: task.frames for task in (self.task, *tasks)}
        return {
            **({"also": found} if found else {}),
            **({"views": longest} if len(longest) > 1 else {}),
        }

    def domain(self, fold: Fold) -> tuple[Domain, dict[str, float]]:
        """Describe a fold's training part, and say how unlike it the test part is: which part of
        its views is `beyond` the limit, whether it `differs`, and the median `percentile`.

        The description is of the training part alone, refitted or not: validation shows how far
        people who are not in it lie from it.
        """
        if fold.number not in self._domains:
            train, val, test = (
                self._views_of(fold.clips(part)) for part in ("train", "val", "test")
            )
            domain = Domain.of(train, val)
            distance = domain.distance(test)
            beyond = domain.fraction_beyond(distance) or 0.0
            distance = distance[~distance.isnan()]
            self._domains[fold.number] = (
                domain,
                {
                    "beyond": beyond,
                    "differs": beyond > MANY,
                    "percentile": domain.percentile(distance).quantile(0.5).item()
                    if len(distance)
                    else 0.0,
                },
            )
        return self._domains[fold.number]

    def _views_of(self, clips: np.ndarray) -> Tensor:
        """Return the means of at most `MOST_VIEWS` views of some clips; see `view_means`."""
        views = self.task.evaluation(clips)
        step = -(-len(views) // MOST_VIEWS)
        rows, owner = views.rows[::step], views.clip[::step]
        partition = self.dataset.partition
        own = np.flatnonzero(partition.mine(owner))
        means = view_means(self.dataset.features, partition.local_rows(rows[own]))
        found = torch.zeros(len(rows), means.shape[1], dtype=torch.float64)
        found[own] = means
        return self.processes.total(found)
