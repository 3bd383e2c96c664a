"""One training run: epochs, selection on validation, and the state that a checkpoint keeps.

Every epoch starts from its own seed, drawn from (seed, fold, epoch): views, batches, augmentation
and dropout of an epoch depend on nothing before it but the weights and the optimizer's state. A
resumed run therefore repeats an undisturbed one, and no generator is saved.

Several processes (Lightning Fabric, DDP) share each batch: all make the same views and draws, each
computes those of the clips that it holds, and the loss of a part is divided by the whole batch's
weight, so that the sum of the gradients is that of one process although parts are uneven. Dropout
masks alone differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.train.augment import Augment
from arpgnet.pipeline.train.feed import batches, concat
from arpgnet.pipeline.train.processes import total
from arpgnet.pipeline.training.data import Dataset, class_counts
from arpgnet.pipeline.training.features import Features, statistics
from arpgnet.pipeline.training.network import logits_of
from arpgnet.pipeline.training.schedule import class_weights, learning_rate, make_optimizer
from arpgnet.pipeline.training.selection import macro_f1, unweighted_recall
from arpgnet.pipeline.training.state import State, epoch_seed, snapshot
from arpgnet.pipeline.training.tasks import Task, Views

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Run:
    """Which clips train and validate (int64 numbers of clips), in which fold and seed."""

    fold: int
    seed: int
    train: np.ndarray
    val: np.ndarray


def finished(state: State, params: TrainParams) -> bool:
    """Check whether all epochs are done, or `patience` epochs without a better one."""
    done = len(state.history)
    return done >= params.epochs or done - 1 - state.best >= params.patience


class Trainer:
    """Fits one network. Make it, then call `fit`.

    Args:
        fabric: device, precision and the processes that share the work.
        network: freshly initialized or not: `fit` sets its weights from the state.
        dataset: of all clips.
        features: the data set's, of the clips of this process; on the device or where they are
            streamed from.
        task: what is learned and scored.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: ARPGNet,
        dataset: Dataset,
        features: Features,
        task: Task,
        run: Run,
        params: TrainParams,
    ) -> None:
        self.fabric, self.network, self.features = fabric, network, features
        self.task, self.run, self.params = task, run, params
        self.partition = dataset.partition
        rows = self.partition.local_rows(dataset.rows(run.train))
        feature_statistics = statistics(
            features, torch.from_numpy(rows[rows >= 0]), partial(total, fabric)
        )
        network.set_feature_statistics(
            embedding=feature_statistics.embedding,
            map_vector=feature_statistics.map_vector,
            nodes=feature_statistics.nodes,
        )
        mirror = torch.tensor(dataset.metadata["mirror"], device=fabric.device)
        self.augment = Augment(params, mirror, feature_statistics.to(fabric.device))
        classes = network.config.num_classes
        taught = task.labels(task.training(run.train, np.random.default_rng(0)))
        weight = class_weights(class_counts(taught, classes), params.class_weights)
        self.class_weight = None if weight is None else weight.to(fabric.device)
        self._weight_of = np.ones(classes) if weight is None else weight.numpy()
        # what validates and predicts
        self.average = copy.deepcopy(network).to(fabric.device) if params.ema else network
        self.optimizer = make_optimizer(network, params)
        self.module, self.wrapped = fabric.setup(network, self.optimizer)

    def fit(self, state: State | None, on_epoch: Callable[[State], None]) -> State:
        """Train until `finished`; continue from `state` if provided.

        Args:
            on_epoch: called after each epoch with the state, whose tensors it must not keep.

        Raises:
            UserError: the loss is no longer a number.
        """
        if state is None:
            state = State(weights=snapshot(self.network))
        else:
            self.network.load_state_dict(state.weights)
            self.average.load_state_dict(state.average or state.weights)
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        while not finished(state, self.params):
            self._epoch(state)
            on_epoch(state)
        self.average.load_state_dict(state.best_weights)
        return state

    def predict(self, clips: np.ndarray) -> np.ndarray:
        """Predict probabilities of some clips' units, float32 [U, K]; NaN where there is none."""
        views = self.task.evaluation(clips)
        probabilities = self._probabilities(views).astype(np.float64)
        return self.task.combine(clips, views, probabilities).astype(np.float32)

    def _epoch(self, state: State) -> None:
        epoch = len(state.history)
        row = {"train_loss": self._train(epoch), **self._validate()}
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(
                f"training of fold {self.run.fold}, seed {self.run.seed} diverged in epoch "
                f"{epoch}: lower train.lr ({self.params.lr}) or train.grad_clip"
            )
        state.history.append(row)
        state.weights = self.network.state_dict()
        state.average = self.average.state_dict() if self.params.ema else {}
        state.optimizer = self.optimizer.state_dict()["state"]
        if state.best < 0 or self.rank(row) > self.rank(state.history[state.best]):
            state.best, state.best_weights = epoch, snapshot(self.average)

    def rank(self, row: dict[str, float]) -> tuple[float, float]:
        """Rank epochs: by the validation score, then by a lower validation loss."""
        return row[f"val_{self.task.select}"], -row["val_loss"]

    def _validate(self) -> dict[str, float]:
        probabilities = self.predict(self.run.val)
        label = self.task.units(self.run.val).label
        known = ~np.isnan(probabilities).any(axis=1)
        predicted = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), -1)
        # a probability that is 0 in float32 must not make the loss infinite
        log = torch.from_numpy(probabilities[known]).clamp(min=1e-12).log()
        target = torch.from_numpy(label[known])
        loss = self._loss(log.to(self.fabric.device), target.to(self.fabric.device))
        weight = self._weight(label[known])
        return {
            # a network that has diverged names no class
            "val_loss": loss.item() / weight if weight else math.nan,
            "val_uar": unweighted_recall(label, predicted),
            "val_macro_f1": macro_f1(label, predicted),
        }

    def _train(self, epoch: int) -> float:
        """Pass over the training views once; return the mean loss of a view."""
        seed = epoch_seed(self.run.seed, self.run.fold, epoch)
        torch.manual_seed(seed)
        draws = torch.Generator(self.fabric.device).manual_seed(seed)
        rng = np.random.default_rng(seed)
        views = self.task.training(self.run.train, rng)
        labels = self.task.labels(views)
        order = rng.permutation(len(views))
        parts = np.split(order, range(self.params.batch, len(order), self.params.batch))
        shared = zip(*(self._share(views, labels, part) for part in parts), strict=True)
        numbers, rows, own = map(list, shared)
        places = concat(self.fabric.device, numbers)
        summed = torch.zeros((), device=self.fabric.device)
        self.module.train()
        feed = batches(self.features, rows, own, self.fabric.device)
        for number, (part, batch) in enumerate(zip(parts, feed, strict=True)):
            step = epoch * len(parts) + number
            rate = learning_rate(step, self.params.epochs * len(parts), self.params)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            drawn = self.augment.draw(len(part), views.rows.shape[1], draws)
            if self.fabric.world_size > 1:
                drawn = drawn.part(places[number])
            batch = self.augment(batch, drawn)
            loss = self._loss(logits_of(self.module, batch), batch.label)
            loss = loss / self._weight(labels[part])
            # DDP takes the mean of the gradients where their sum is meant
            self.fabric.backward(loss * self.fabric.world_size)
            # a check for finite gradients would wait for the device in every step
            self.fabric.clip_gradients(
                self.module,
                self.wrapped,
                max_norm=self.params.grad_clip,
                error_if_nonfinite=False,
            )
            self.wrapped.step()
            self.wrapped.zero_grad()
            self._follow(step)
            summed += loss.detach() * len(part)
        return total(self.fabric, summed).item() / len(order)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights (Polyak and Juditsky 1992, exponential form).

        Of the first steps it is closer to a plain mean, so that it does not remember the start.
        """
        if self.params.ema:
            decay = min(self.params.ema, (step + 2) / (step + 11))
            average: list[Tensor] = list(self.average.parameters())
            weights: list[Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(average, weights, 1 - decay)

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
            rows, label = np.full_like(views.rows[:1], -1), np.full_like(labels[:1], -1)
        return torch.from_numpy(own), torch.from_numpy(rows), torch.from_numpy(label)

    def _probabilities(self, views: Views) -> np.ndarray:
        """Return float32 [V, K] or [V, T, K]; every process computes its views and gets all."""
        labels = self.task.labels(views)
        own = np.flatnonzero(self.partition.mine(views.clip))
        rows = torch.from_numpy(self.partition.local_rows(views.rows[own])).split(self.params.batch)
        known = torch.from_numpy(labels[own]).split(self.params.batch)
        found = torch.zeros(*labels.shape, self.network.config.num_classes)
        self.average.eval()
        with torch.inference_mode(), self.fabric.autocast():
            parts = [
                logits_of(self.average, batch).float().softmax(-1)
                for batch in batches(self.features, rows, known, self.fabric.device)
                if len(batch)
            ]
        if parts:
            found[own] = torch.cat(parts).cpu()
        return total(self.fabric, found).numpy()

    def _weight(self, labels: np.ndarray) -> float:
        """Return the class weights of some labels, added; -1 weighs nothing."""
        return float(self._weight_of[labels[labels >= 0]].sum())

    def _loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Sum the loss over labels, alike in training and validation: curves can be compared."""
        return cross_entropy(
            logits.float().flatten(0, -2),
            label.flatten(),
            weight=self.class_weight,
            label_smoothing=self.params.label_smoothing,
            ignore_index=-1,
            reduction="sum",
        )
