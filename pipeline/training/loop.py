"""The epoch loop: training steps, selection on validation, early stopping, and checkpoints; the
optimizer, its rate in each step, and class weights.

Every epoch starts from its own seed, drawn from the run's numbers and the epoch's: it depends on
nothing before it but the weights and the optimizer's state. A resumed run therefore repeats an
undisturbed one, and no generator is saved.
"""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.training.device import total
from arpgnet.pipeline.training.state import State, epoch_seed, snapshot

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# called with an epoch's number, its losses and scores, and whether an earlier run has trained it
OnEpoch = Callable[[int, dict[str, float], bool], None]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long a run trains, and how it is called.

    An epoch is what is validated once. Whatever else lasts a while is a number of epochs or a part
    of all steps, so that a run's length can be changed by itself.
    """

    name: str  # for messages
    advice: str  # which settings to lower where the loss is no longer a number
    seed: tuple[int, ...]  # the numbers that tell this run from others
    epochs: int  # at most
    epoch_steps: int  # of each epoch; see `epoch_steps`
    patience: int | None = None  # epochs without a better one before it ends; None: never
    warmup: float  # part of all steps, see `warm_cosine`
    grad_clip: float  # largest norm of the gradient
    stop: int | None = None  # the epoch to end with, without any validation; None: validated
    average: float = 0.0  # length of the moving average of the weights, as `warmup`; 0: none
    select: str  # the score that chooses the epoch; of equal ones the lower validation loss

    @property
    def steps(self) -> int:
        """Of the whole run, if it is not stopped early."""
        return self.epochs * self.epoch_steps


class EpochLoop(ABC):
    """Fits one network. A subclass says what an epoch learns and how it is scored.

    Args:
        fabric: device, precision and the processes that share the work.
        network: freshly initialized or not: `fit` sets its weights from the state.
        optimizer: of its parameters; the rates of its groups are those after the warm-up.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: LoopSettings,
    ) -> None:
        self.fabric, self.network, self.settings = fabric, network, settings
        # what validates and predicts
        self.average = copy.deepcopy(network).to(fabric.device) if settings.average else network
        self.optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.module, self.wrapped = fabric.setup(network, optimizer)

    @abstractmethod
    def batches(
        self, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        """Return the sizes of an epoch's `epoch_steps` batches, and their mean losses.

        A loss is computed when it is asked for, after the step of the one before. Where several
        processes share a batch, each returns its part of the loss, to be added up.

        Args:
            draws: on the training device.
        """

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Return `val_loss` and the scores of the validation data, by `average`."""

    def fit(
        self,
        state: State | None,
        on_epoch: OnEpoch,
        save: Callable[[State], None],
        seconds: float = 0.0,
    ) -> State:
        """Train until `finished`, from `state` on if provided; end with the best weights, or the
        last ones where there is no validation.

        Args:
            on_epoch: called after each epoch; for those of `state` at the beginning.
            save: called with the state, whose tensors it must not keep, after an epoch that is not
                the last one, if the last call is `seconds` ago.

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
        for number, row in enumerate(state.history):
            on_epoch(number, row, True)
        saved = time.monotonic()
        while not self.finished(state):
            self._epoch(state)
            on_epoch(len(state.history) - 1, state.history[-1], False)
            if time.monotonic() - saved >= seconds and not self.finished(state):
                save(state)
                saved = time.monotonic()
        self.average.load_state_dict(state.best_weights)
        return state

    def finished(self, state: State) -> bool:
        """Check whether all epochs are done, or `patience` epochs without a better one."""
        done, patience = len(state.history), self.settings.patience
        if self.settings.stop is not None:
            return done > self.settings.stop
        return done >= self.settings.epochs or (
            patience is not None and done - 1 - state.best >= patience
        )

    def _epoch(self, state: State) -> None:
        epoch, settings = len(state.history), self.settings
        row = {"train_loss": self._train(epoch)}
        if settings.stop is None:
            row |= self.validate()
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(f"{settings.name} diverged in epoch {epoch}: lower {settings.advice}")
        state.history.append(row)
        state.weights = self.network.state_dict()
        state.average = self.average.state_dict() if settings.average else {}
        state.optimizer = self.optimizer.state_dict()["state"]
        unvalidated = settings.stop is not None
        if unvalidated or state.best < 0 or self._better(row, state.history[state.best]):
            state.best, state.best_weights = epoch, snapshot(self.average)

    def _better(self, row: dict[str, float], best: dict[str, float]) -> bool:
        return self._rank(row) > self._rank(best)

    def _rank(self, row: dict[str, float]) -> tuple[float, float]:
        return row[f"val_{self.settings.select}"], -row["val_loss"]

    def _train(self, epoch: int) -> float:
        """Take the steps of an epoch; return the mean loss of an example."""
        seed = epoch_seed(*self.settings.seed, epoch)
        torch.manual_seed(seed)
        draws = torch.Generator(self.fabric.device).manual_seed(seed)
        sizes, losses = self.batches(np.random.default_rng(seed), draws)
        assert len(sizes) == self.settings.epoch_steps
        steps = self.settings.steps
        summed = torch.zeros((), device=self.fabric.device)
        self.module.train()
        for step, (size, loss) in enumerate(zip(sizes, losses, strict=True), epoch * len(sizes)):
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = warm_cosine(rate, step, steps, self.settings.warmup)
            # DDP takes the mean of the gradients where their sum is meant
            self.fabric.backward(loss * self.fabric.world_size)
            # a check for finite gradients would wait for the device in every step
            self.fabric.clip_gradients(
                self.module,
                self.wrapped,
                max_norm=self.settings.grad_clip,
                error_if_nonfinite=False,
            )
            self.wrapped.step()
            self.wrapped.zero_grad()
            self._follow(step)
            summed += loss.detach() * size
        return total(self.fabric, summed).item() / sum(sizes)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights (Polyak and Juditsky 1992, exponential form).

        Of the first steps it is closer to a plain mean, so that it does not remember the start.
        """
        if self.settings.average:
            decay = average_decay(self.settings.average * self.settings.steps)
            decay = min(decay, (step + 2) / (step + 11))
            average: list[Tensor] = list(self.average.parameters())
            weights: list[Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(average, weights, 1 - decay)


def make_optimizer(
    parts: Sequence[tuple[nn.Module, float]], weight_decay: float, *, fused: bool = False
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, ICLR 2019) of networks that learn at a rate each.

    Only weight matrices decay: biases, norms and embedding tables have nothing to shrink to.

    Args:
        fused: one pass over all parameters, where a loop over each takes 2 ms more of a CPU step
            of 150.
    """
    groups = []
    for network, rate in parts:
        named = dict(network.named_parameters())
        decays = {name for name, p in named.items() if p.ndim > 1 and not is_embedding(name)}
        for names, decay in ((decays, weight_decay), (named.keys() - decays, 0.0)):
            chosen = [p for name, p in named.items() if name in names]
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=fused)


def is_embedding(name: str) -> bool:
    """Check whether a parameter is a table of vectors, by its last name."""
    return name.rsplit(".", 1)[-1].endswith(("_table", "_embedding", "_embed", "_token"))


def epoch_steps(batches: int, epochs: int, least: int) -> int:
    """Return the steps of an epoch: those of a pass over the data, or more where it is small.

    Args:
        batches: of one pass.
        epochs: of the whole training.
        least: steps that the whole training must have.
    """
    return max(batches, math.ceil(least / epochs))


def average_decay(steps: float) -> float:
    """Return the decay per step of a moving average over about this many steps."""
    return 1 - 1 / max(steps, 1)


def warm_cosine(peak: float, step: int, steps: int, warmup: float) -> float:
    """Return linear warm-up, then half a cosine to zero (Loshchilov and Hutter, ICLR 2017).

    Args:
        peak: the value after the warm-up.
        step: 0-based, below `steps`.
        steps: of the whole training if it is not stopped early.
        warmup: part of the steps.
    """
    warm = round(steps * warmup)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def class_weights(counts: Sequence[int], kind: str) -> Tensor | None:
    """Weight of each class in the loss, so that the mean over the training clips is 1.

    Args:
        counts: training clips of each class, all positive.
        kind: `none`; `balanced`, inverse to the count; `sqrt`, to its square root.

    Returns:
        float32 [K], or None.
    """
    if kind == "none":
        return None
    count = torch.tensor(counts, dtype=torch.float64)
    weight = count.pow(-1.0 if kind == "balanced" else -0.5)
    return (weight * count.sum() / (weight * count).sum()).float()
