"""One fine-tuning run: epochs, selection on the validation stills, and the state it carries.

As in `pipeline.train.fit`, every epoch starts from a seed of its own, drawn from (seed, epoch): a
resumed run repeats an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import cross_entropy

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.finetune.augment import augment
from arpgnet.pipeline.finetune.data import Stills
from arpgnet.pipeline.finetune.network import Trainee
from arpgnet.pipeline.training.schedule import class_weights, warm_cosine
from arpgnet.pipeline.training.selection import unweighted_recall
from arpgnet.pipeline.training.state import State, epoch_seed, snapshot

GRAD_CLIP = 1.0


class Tuner:
    """Fits one network to stills. Make it, then call `fit`."""

    def __init__(
        self, fabric: Fabric, trainee: Trainee, stills: Stills, params: FinetuneParams
    ) -> None:
        self.fabric, self.trainee, self.stills, self.params = fabric, trainee, stills, params
        counts = np.bincount(stills.label[stills.train], minlength=len(stills.classes)).tolist()
        weight = class_weights(counts, params.class_weights)
        self.class_weight = None if weight is None else weight.to(fabric.device)
        self.optimizer = make_optimizer(trainee, params)
        self.module, self.wrapped = fabric.setup(trainee, self.optimizer)

    def fit(
        self, state: State | None, on_step: Callable[[], None], on_epoch: Callable[[State], None]
    ) -> State:
        """Train for all epochs, from `state` on if provided; ends with the best weights.

        Raises:
            UserError: the loss is no longer a number.
        """
        if state is None:
            state = State(snapshot(self.trainee))
        else:
            self.trainee.load_state_dict(state.weights)
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        while len(state.history) < self.params.epochs:
            row = self._epoch(len(state.history), on_step)
            if not all(math.isfinite(value) for value in row.values()):
                raise UserError(
                    f"fine-tuning diverged in epoch {len(state.history)}: lower finetune.lr "
                    f"({self.params.lr}) or finetune.head_lr ({self.params.head_lr})"
                )
            state.history.append(row)
            state.weights = self.trainee.state_dict()
            state.optimizer = self.optimizer.state_dict()["state"]
            if state.best < 0 or _rank(row) > _rank(state.history[state.best]):
                state.best, state.best_weights = len(state.history) - 1, snapshot(self.trainee)
            on_epoch(state)
        self.trainee.load_state_dict(state.best_weights)
        return state

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(_cut(self.stills.train, self.params.batch))

    def _epoch(self, epoch: int, on_step: Callable[[], None]) -> dict[str, float]:
        train_loss = self._train(epoch, on_step)
        logits, label = self._predict(self.stills.val)
        found = torch.stack(logits).softmax(2).mean(0).argmax(1)
        return {
            "train_loss": train_loss,
            "val_loss": self._loss(logits, label).item(),
            "val_uar": unweighted_recall(label.cpu().numpy(), found.cpu().numpy()),
        }

    def _train(self, epoch: int, on_step: Callable[[], None]) -> float:
        """Pass over the training stills once; return the mean loss of a still."""
        seed = epoch_seed(self.params.seed, epoch)
        torch.manual_seed(seed)
        draws = torch.Generator(self.fabric.device).manual_seed(seed)
        order = np.random.default_rng(seed).permutation(self.stills.train)
        parts = _cut(order, self.params.batch)
        total = torch.zeros((), device=self.fabric.device)
        self.trainee.start_epoch()
        self.module.train()
        for number, rows in enumerate(parts):
            step, steps = epoch * len(parts) + number, self.params.epochs * len(parts)
            factor = warm_cosine(1.0, step, steps, self.params.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            crops, label = self._take(rows)
            loss = self._loss(self.module(augment(crops, self.params, draws)), label)
            self.fabric.backward(loss)
            self.fabric.clip_gradients(
                self.module, self.wrapped, max_norm=GRAD_CLIP, error_if_nonfinite=False
            )
            self.wrapped.step()
            self.wrapped.zero_grad()
            total += loss.detach() * len(rows)
            on_step()
        return total.item() / len(order)

    @torch.inference_mode()
    def _predict(self, rows: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Return logits [rows, K] of each head, and labels."""
        self.module.eval()
        parts = [self._take(part) for part in _cut(rows, self.params.batch)]
        found = [[logits.float() for logits in self.module(crops)] for crops, _ in parts]
        heads = [torch.cat(pieces) for pieces in zip(*found, strict=True)]
        return heads, torch.cat([label for _, label in parts])

    def _take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return crops float32 [B, 3, 112, 112] in 0..255, and labels [B], on the device."""
        crops = torch.from_numpy(self.stills.crops[rows]).to(self.fabric.device)
        label = torch.from_numpy(self.stills.label[rows]).to(self.fabric.device)
        return crops.permute(0, 3, 1, 2).float(), label

    def _loss(self, logits: list[Tensor], label: Tensor) -> Tensor:
        """Return the mean over the heads."""
        losses = [
            cross_entropy(
                each.float(),
                label,
                weight=self.class_weight,
                label_smoothing=self.params.label_smoothing,
            )
            for each in logits
        ]
        return torch.stack(losses).mean()


def make_optimizer(trainee: Trainee, params: FinetuneParams) -> torch.optim.AdamW:
    """Make AdamW; the heads, which start at random, learn faster; only matrices decay."""
    groups = []
    for rate, part in ((params.lr, trainee.backbone), (params.head_lr, trainee.heads)):
        for decays in (True, False):
            chosen = [p for p in part.parameters() if (p.ndim > 1) == decays]
            decay = params.weight_decay if decays else 0.0
            groups.append({"params": chosen, "base_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=params.lr)


def _rank(row: dict[str, float]) -> tuple[float, float]:
    return row["val_uar"], -row["val_loss"]


def _cut(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    """Cut batches that differ by at most one: batch norm cannot take a batch of one."""
    return np.array_split(rows, max(1, math.ceil(len(rows) / batch)))
