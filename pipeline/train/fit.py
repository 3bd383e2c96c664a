"""One training run: epochs, selection on validation, and the state that a checkpoint keeps.

Every epoch starts from its own seed, drawn from (seed, fold, epoch): batches, augmentation and
dropout of an epoch depend on nothing before it but the weights and the optimiser's state. A
resumed run therefore takes the same course as an undisturbed one, and no generator is saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.arpgnet import ARPGNet
from pipeline.config import TrainParams
from pipeline.errors import UserError
from pipeline.train.augment import Augment
from pipeline.train.data import Features, class_counts, statistics
from pipeline.train.recall import unweighted_recall
from pipeline.train.schedule import class_weights, learning_rate, make_optimizer

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """Which clips train and validate (int64 indices into the features), in which fold and seed."""

    fold: int
    seed: int
    train: Tensor
    val: Tensor


@dataclass
class State:
    """Everything that a run carries from one epoch to the next.

    `optimizer` holds AdamW's moments and step of each parameter by its number. `history` has one
    `{train_loss, val_loss, val_uar}` an epoch. `best` is the index of the epoch whose weights are
    `best_weights`; -1 before the first.
    """

    weights: Weights
    optimizer: dict[int, Weights] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    best_weights: Weights = field(default_factory=dict)

    def finished(self, params: TrainParams) -> bool:
        """All epochs done, or `patience` epochs without a better one."""
        done = len(self.history)
        return done >= params.epochs or done - 1 - self.best >= params.patience


def epoch_seed(seed: int, fold: int, epoch: int) -> int:
    """A 63-bit seed of its own for every epoch of every run."""
    words = np.random.SeedSequence([seed, fold, epoch]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


class Trainer:
    """Fits one network. Make it, then call `fit`.

    Args:
        fabric: device and precision.
        network: freshly initialised or not: `fit` sets its weights from the state.
        features: of all clips, on the device or in page-locked memory.
        mirror: the region each region becomes in a mirror.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: ARPGNet,
        features: Features,
        run: Run,
        params: TrainParams,
        mirror: list[int],
    ) -> None:
        self.fabric, self.network, self.features = fabric, network, features
        self.run, self.params = run, params
        moments = statistics(features, run.train)
        network.set_feature_statistics(
            embedding=moments.embedding, map_vector=moments.map_vector, nodes=moments.nodes
        )
        self.augment = Augment(
            params, torch.tensor(mirror, device=fabric.device), moments.to(fabric.device)
        )
        counts = class_counts(
            features.label[run.train.to(features.device)].tolist(), network.config.num_classes
        )
        weight = class_weights(counts, params.class_weights)
        self.class_weight = None if weight is None else weight.to(fabric.device)
        self.optimizer = make_optimizer(network, params)
        self.module, self.wrapped = fabric.setup(network, self.optimizer)

    def fit(self, state: State | None, on_epoch: Callable[[State], None]) -> State:
        """Train until `State.finished`; continue from `state` where one is given.

        Args:
            on_epoch: called after each epoch with the state, whose tensors it must not keep.

        Raises:
            UserError: the loss is no longer a number.
        """
        if state is None:
            state = State(weights=snapshot(self.network))
        else:
            self.network.load_state_dict(state.weights)
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        while not state.finished(self.params):
            self._epoch(state)
            on_epoch(state)
        self.network.load_state_dict(state.best_weights)
        return state

    def predict(self, clips: Tensor) -> Tensor:
        """Class probabilities, float32 [clips, K] on the CPU."""
        return predict(self.module, self.features, clips, self.params.batch).softmax(1).cpu()

    def _epoch(self, state: State) -> None:
        epoch = len(state.history)
        train_loss = self._train(epoch)
        logits = predict(self.module, self.features, self.run.val, self.params.batch)
        label = self.features.label[self.run.val.to(self.features.device)].to(logits.device)
        row = {
            "train_loss": train_loss,
            "val_loss": self._loss(logits, label).item(),
            "val_uar": unweighted_recall(label.cpu().numpy(), logits.argmax(1).cpu().numpy()),
        }
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(
                f"training of fold {self.run.fold}, seed {self.run.seed} diverged in epoch "
                f"{epoch}: lower train.lr ({self.params.lr}) or train.grad_clip"
            )
        state.history.append(row)
        state.weights = self.network.state_dict()
        state.optimizer = self.optimizer.state_dict()["state"]
        if state.best < 0 or rank(row) > rank(state.history[state.best]):
            state.best, state.best_weights = epoch, snapshot(self.network)

    def _train(self, epoch: int) -> float:
        """One pass over the training clips; returns the mean loss of a clip."""
        seed = epoch_seed(self.run.seed, self.run.fold, epoch)
        torch.manual_seed(seed)
        shuffle = torch.Generator().manual_seed(seed)
        draws = torch.Generator(self.fabric.device).manual_seed(seed)
        order = self.run.train[torch.randperm(len(self.run.train), generator=shuffle)]
        parts = order.to(self.features.device).split(self.params.batch)
        total = torch.zeros((), device=self.fabric.device)
        self.module.train()
        for number, part in enumerate(parts):
            step = epoch * len(parts) + number
            rate = learning_rate(step, self.params.epochs * len(parts), self.params)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch = self.augment(self.features.take(part).to(self.fabric.device), draws)
            loss = self._loss(logits_of(self.module, batch), batch.label)
            self.fabric.backward(loss)
            # a check for finite gradients would wait for the device in every step
            self.fabric.clip_gradients(
                self.module,
                self.wrapped,
                max_norm=self.params.grad_clip,
                error_if_nonfinite=False,
            )
            self.wrapped.step()
            self.wrapped.zero_grad()
            total += loss.detach() * len(part)
        return total.item() / len(order)

    def _loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """The same for training and validation, so that the two curves can be compared."""
        return cross_entropy(
            logits.float(),
            label,
            weight=self.class_weight,
            label_smoothing=self.params.label_smoothing,
        )


def rank(row: dict[str, float]) -> tuple[float, float]:
    """Better epochs rank higher: by validation UAR, then by a lower validation loss."""
    return row["val_uar"], -row["val_loss"]


def logits_of(module: Any, batch: Features) -> Tensor:
    """Clip logits [B, K] of a batch."""
    logits: Tensor = module(
        embedding_BTE=batch.embedding,
        map_BTC=batch.map_vector,
        nodes_BTNC=batch.nodes,
        node_xy_BTN2=batch.node_xy,
        visible_BTN=batch.visible,
        valid_BT=batch.valid,
    )["logits_BK"]
    return logits


@torch.inference_mode()
def predict(module: Any, features: Features, clips: Tensor, batch: int) -> Tensor:
    """Logits of some clips, float32 [clips, K] on the module's device."""
    module.eval()
    device = next(module.parameters()).device
    parts = clips.to(features.device).split(batch)
    return torch.cat([logits_of(module, features.take(p).to(device)).float() for p in parts])


def snapshot(network: torch.nn.Module) -> Weights:
    """A copy of the network's state that training does not change."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
