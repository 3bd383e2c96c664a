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
from arpgnet.pipeline.train.augment import Augment
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.train.passes import Pass, learned_further
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import total
from arpgnet.pipeline.training.features import Batch, Features, batches, concat, statistics
from arpgnet.pipeline.training.labels import blanked
from arpgnet.pipeline.training.loop import (
    EpochLoop,
    LoopSettings,
    epoch_steps,
    make_optimizer,
)
from arpgnet.pipeline.training.network import all_logits, logits_of
from arpgnet.pipeline.training.tasks import Task, Views

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
        cells = math.prod(dataset.metadata["map_shape"][1:])
        moved = feature_statistics.to(fabric.device)
        self.kind, self.outputs = dataset.kind, network.config.num_classes
        self.further = learned_further(dataset, params)

        def make_pass(main: Task | None, units: str) -> Pass:
            further = [one for one in self.further if one.task.name == units]
            augment = partial(Augment, params, mirror, moved, cells=cells)
            return Pass.of(further, main, fold, self.learned, params, augment)

        self.passes = [make_pass(task, task.name)]
        others = {one.task.name for one in self.further} - {task.name}
        self.passes += [make_pass(None, units) for units in others]
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
        found = self._predicted(
            self.task,
            views,
            self.outputs,
            lambda batch: self.kind.values(logits_of(self.average, batch).float()),
        ).astype(np.float64)

        def at(temperature: float) -> np.ndarray:
            tempered = found if temperature == 1 else temper(found, temperature)
            return self.task.combine(clips, views, tempered).astype(np.float32)

        return at

    def predict_further(self, number: int, clips: np.ndarray) -> np.ndarray:
        """Predict some clips' units of a further task: float32 [U, K of it], as `predict`."""
        task, place = self.further[number].task, self.further[number].place
        views = task.evaluation(clips)

        def values(batch: Batch) -> Tensor:
            logits = all_logits(self.average, batch)[1]
            assert logits is not None
            return task.dataset.kind.values(logits[..., place].float())

        found = self._predicted(task, views, place.stop - place.start, values)
        return task.combine(clips, views, found.astype(np.float64)).astype(np.float32)

    def validate(self) -> dict[str, float]:
        values = self.predict(self.fold.val)(1.0)
        label = self.task.units(self.fold.val).label
        known = ~np.isnan(values).any(axis=1)
        logits = self.kind.logits(torch.from_numpy(values[known]))
        target = torch.from_numpy(label[known])
        objective = self.passes[0].objective
        assert objective is not None
        loss = objective.loss(logits.to(self.fabric.device), target.to(self.fabric.device))
        weight = objective.weight(label[known])
        scores = self.kind.scores(label, values)
        return {
            # a network that has diverged names no class
            "val_loss": loss.item() / weight if weight else math.nan,
            **{f"val_{name}": value for name, value in scores.items()},
        }

    def batches(
        self, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        (sizes, losses), *others = [self._steps(shown, rng, draws) for shown in self.passes]
        each = zip(losses, *(more for _, more in others), strict=True)
        # a sum that begins with the first: of one pass it is that pass's, to the bit
        return sizes, (sum(rest, first) for first, *rest in each)

    def _steps(
        self, shown: Pass, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        """Return what `batches` does, of one forward pass of each step."""
        sizes: list[int] = []
        losses: list[Iterator[Tensor]] = []
        # a small set is passed over several times, each time in another order; the last pass may
        # end early
        while (missing := self.settings.epoch_steps - len(sizes)) > 0:
            views = shown.views(self.learned, rng)
            order = rng.permutation(len(views))
            parts = np.split(order, range(self.params.batch, len(order), self.params.batch))
            sizes += [len(part) for part in parts[:missing]]
            losses.append(self._losses(shown, views, parts[:missing], draws))
        return sizes, chain.from_iterable(losses)

    def _losses(
        self, shown: Pass, views: Views, parts: Sequence[np.ndarray], draws: torch.Generator
    ) -> Iterator[Tensor]:
        labels = shown.task.labels(views)
        others = [task.labels(views) for task in shown.further]
        shared = zip(*(self._share(views, labels, part) for part in parts), strict=True)
        numbers, rows, own = map(list, shared)
        places = concat(self.fabric.device, numbers)
        feed = batches(self.features, rows, own, self.fabric.device)
        also = self._further_labels(others, parts, numbers, rows)
        for place, part, batch, taught in zip(places, parts, feed, also, strict=True):
            drawn = shown.augment.draw(len(part), views.rows.shape[1], draws)
            if self.fabric.world_size > 1:
                drawn = drawn.part(place)
            augmented = shown.augment(batch, drawn)
            known = labels[part], [label[part] for label in others]
            logits = all_logits(self.module, augmented)
            yield shown.loss(logits, augmented.label, taught, known)

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

    def _predicted(
        self, task: Task, views: Views, outputs: int, values: Callable[[Batch], Tensor]
    ) -> np.ndarray:
        """Return the values of a task's views, float32 [V, `outputs`] or [V, T, `outputs`]; every
        process computes its own and gets all."""
        labels = task.labels(views)
        shape = views.rows.shape if task.name == "frame" else views.rows.shape[:1]
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
