"""What a training run learns and how it is scored; `training.loop` does the rest.

Several processes (Lightning Fabric, DDP) share each batch: all make the same views and draws, each
computes those of the clips that it holds, and the loss of a part is divided by the whole batch's
weight, so that the sum of the gradients is that of one process although parts are uneven. Dropout
masks alone differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.tables.predictions import temper
from arpgnet.pipeline.train.augment import Augment, noise_of
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import total
from arpgnet.pipeline.training.features import Batch, Features, batches, concat, statistics
from arpgnet.pipeline.training.kinds.further import FurtherLosses
from arpgnet.pipeline.training.labels import blanked
from arpgnet.pipeline.training.loop import (
    EpochLoop,
    LoopSettings,
    epoch_steps,
    make_optimizer,
)
from arpgnet.pipeline.training.network import all_logits, logits_of
from arpgnet.pipeline.training.tasks import Task, Views, further_tasks

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def steps_of_epoch(task: Task, fold: Fold, params: TrainParams) -> int:
    """Return the steps between two validations of a run."""
    examples = len(task.training(fold.train, np.random.default_rng(0)))
    return epoch_steps(math.ceil(examples / params.batch), params.epochs, params.min_steps)


class Trainer(EpochLoop):
    """Fits one network to a fold. Make it, then call `fit`.

    Args:
        features: the data set's, of the clips of this process; on the device or where they are
            streamed from.
        task: what is learned and scored.
        refit: None: learns from the training part, and validates. Else, of a run that has: the
            epoch to end with; learns from training and validation, with steps as many and as long.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: ARPGNet,
        dataset: Dataset,
        features: Features,
        task: Task,
        fold: Fold,
        seed: int,
        params: TrainParams,
        *,
        refit: int | None = None,
    ) -> None:
        self.features, self.task, self.fold, self.params = features, task, fold, params
        self.learned = fold.train if refit is None else fold.learned
        self.partition = dataset.partition
        rows = self.partition.local_rows(dataset.rows(self.learned))
        feature_statistics = statistics(
            features, torch.from_numpy(rows[rows >= 0]), partial(total, fabric)
        )
        network.set_feature_statistics(**vars(feature_statistics))
        mirror = torch.tensor(dataset.metadata["mirror"], device=fabric.device)
        # that of the first pass where it is refitted: what validation has seen
        noise = noise_of(params, len(task.training(fold.train, np.random.default_rng(0))))
        cells = math.prod(dataset.metadata["map_shape"][1:])
        self.augment = Augment(params, mirror, feature_statistics.to(fabric.device), noise, cells)
        self.kind, self.outputs = dataset.kind, network.config.num_classes
        views = task.training(self.learned, np.random.default_rng(0))
        self.objective = self.kind.objective(task.labels(views), params)
        self.further = further_tasks(dataset, params)
        kinds = [one.dataset.kind for one in self.further]
        self.further_losses = FurtherLosses(
            [
                kind.objective(one.labels(views), params)
                for kind, one in zip(kinds, self.further, strict=True)
            ],
            [len(kind.outputs) for kind in kinds],
            [one.weight for one in dataset.further],
        )
        settings = LoopSettings(
            name=f"training of fold {fold.number}, seed {seed}",
            advice=f"train.lr ({params.lr}) or train.grad_clip",
            seed=(seed, fold.number),
            epochs=params.epochs,
            epoch_steps=steps_of_epoch(task, fold, params),
            stop=refit,
            patience=params.patience,
            warmup=params.warmup,
            grad_clip=params.grad_clip,
            average=params.average,
            select=task.select,
        )
        optimizer = make_optimizer([(network, params.lr)], params.weight_decay, fused=True)
        super().__init__(fabric, network, optimizer, settings)

    def predict(self, clips: np.ndarray) -> Callable[[float], np.ndarray]:
        """Predict some clips' units, at any temperature of the logits.

        Returns:
            From a temperature to float32 [U, K], NaN where there is none. Values of several
            views of a unit are averaged after it, as everywhere that the network is used.
        """
        views = self.task.evaluation(clips)
        found = self._probabilities(views).astype(np.float64)

        def at(temperature: float) -> np.ndarray:
            tempered = found if temperature == 1 else temper(found, temperature)
            return self.task.combine(clips, views, tempered).astype(np.float32)

        return at

    def predict_further(self, number: int, clips: np.ndarray) -> np.ndarray:
        """Predict some clips' units of a further task: float32 [U, K of it], as `predict`."""
        task = self.further[number]
        views, widths = task.evaluation(clips), self.further_losses.widths
        start = sum(widths[:number])

        def values(batch: Batch) -> Tensor:
            logits = all_logits(self.average, batch)[1]
            assert logits is not None
            part = logits[..., start : start + widths[number]]
            return task.dataset.kind.values(part.float())

        found = self._predicted(views, widths[number], values)
        return task.combine(clips, views, found.astype(np.float64)).astype(np.float32)

    def validate(self) -> dict[str, float]:
        values = self.predict(self.fold.val)(1.0)
        label = self.task.units(self.fold.val).label
        known = ~np.isnan(values).any(axis=1)
        logits = self.kind.logits(torch.from_numpy(values[known]))
        target = torch.from_numpy(label[known])
        loss = self.objective.loss(logits.to(self.fabric.device), target.to(self.fabric.device))
        weight = self.objective.weight(label[known])
        scores = self.kind.scores(label, values)
        return {
            # a network that has diverged names no class
            "val_loss": loss.item() / weight if weight else math.nan,
            **{f"val_{name}": value for name, value in scores.items()},
        }

    def batches(
        self, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        sizes: list[int] = []
        losses: list[Iterator[Tensor]] = []
        # a small set is passed over several times, each time in another order; the last pass may
        # end early
        while (missing := self.settings.epoch_steps - len(sizes)) > 0:
            views = self.task.training(self.learned, rng)
            order = rng.permutation(len(views))
            parts = np.split(order, range(self.params.batch, len(order), self.params.batch))
            sizes += [len(part) for part in parts[:missing]]
            losses.append(self._losses(views, parts[:missing], draws))
        return sizes, chain.from_iterable(losses)

    def _losses(
        self, views: Views, parts: Sequence[np.ndarray], draws: torch.Generator
    ) -> Iterator[Tensor]:
        labels = self.task.labels(views)
        others = [task.labels(views) for task in self.further]
        shared = zip(*(self._share(views, labels, part) for part in parts), strict=True)
        numbers, rows, own = map(list, shared)
        places = concat(self.fabric.device, numbers)
        feed = batches(self.features, rows, own, self.fabric.device)
        also = self._further_labels(others, parts, numbers, rows)
        for place, part, batch, taught in zip(places, parts, feed, also, strict=True):
            drawn = self.augment.draw(len(part), views.rows.shape[1], draws)
            if self.fabric.world_size > 1:
                drawn = drawn.part(place)
            augmented = self.augment(batch, drawn)
            logits, further = all_logits(self.module, augmented)
            loss = self.objective.loss(logits, augmented.label)
            loss = loss / (self.objective.weight(labels[part]) or 1.0)
            if further is not None:
                losses = self.further_losses
                totals = [
                    one.weight(label[part])
                    for one, label in zip(losses.objectives, others, strict=True)
                ]
                loss = loss + losses.loss(further, taught, totals)
            yield loss

    def _share(
        self, views: Views, labels: np.ndarray, part: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return this process's views of a batch: numbers in it, local rows and labels.

        All must take every step: where none is its own, it is a view of nothing.
        """
        own = np.flatnonzero(self.partition.mine(views.clip[part]))
        rows, label = self.partition.local_rows(views.rows[part[own]]), labels[part[own]]
        if not len(own):
            own = np.zeros(1, np.int64)
            rows, label = np.full_like(views.rows[:1], -1), labels[:1]
            label = blanked(label, np.ones(1, bool))
        return torch.from_numpy(own), torch.from_numpy(rows), torch.from_numpy(label)

    def _further_labels(
        self,
        labels: Sequence[np.ndarray],
        parts: Sequence[np.ndarray],
        numbers: Sequence[Tensor],
        rows: Sequence[Tensor],
    ) -> Iterator[list[Tensor]]:
        """Return each batch's labels of the further tasks, on the device.

        Args:
            labels: of each further task, of all views.
            parts: the batches' views.
            numbers, rows: which of a batch this process has, and their rows; a view of nothing
                has no label.
        """
        moved = []
        for label in labels:
            own = [
                blanked(label[part[number.numpy()]], (row < 0).all(dim=1).numpy())
                for part, number, row in zip(parts, numbers, rows, strict=True)
            ]
            moved.append(concat(self.fabric.device, [torch.from_numpy(one) for one in own]))
        return iter([[one[batch] for one in moved] for batch in range(len(parts))])

    def _probabilities(self, views: Views) -> np.ndarray:
        """Return float32 [V, K] or [V, T, K]; every process computes its views and gets all."""
        return self._predicted(
            views,
            self.outputs,
            lambda batch: self.kind.values(logits_of(self.average, batch).float()),
        )

    def _predicted(
        self, views: Views, outputs: int, values: Callable[[Batch], Tensor]
    ) -> np.ndarray:
        """Return the values of views, float32 [V, `outputs`] or [V, T, `outputs`]."""
        labels = self.task.labels(views)
        shape = views.rows.shape if self.task.name == "frame" else views.rows.shape[:1]
        own = np.flatnonzero(self.partition.mine(views.clip))
        rows = torch.from_numpy(self.partition.local_rows(views.rows[own])).split(self.params.batch)
        known = torch.from_numpy(labels[own]).split(self.params.batch)
        found = torch.zeros(*shape, outputs)
        self.average.eval()
        with torch.inference_mode(), self.fabric.autocast():
            parts = [
                values(batch)
                for batch in batches(self.features, rows, known, self.fabric.device)
                if len(batch)
            ]
        if parts:
            found[own] = torch.cat(parts).cpu()
        return total(self.fabric, found).numpy()
