"""A run from its settings to its outcome, in the stage's own process or in a worker's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.train.cached import CachedRun, Outcome
from arpgnet.pipeline.train.fit import Run, Trainer
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import reproducible
from arpgnet.pipeline.training.features import place
from arpgnet.pipeline.training.network import build_network
from arpgnet.pipeline.training.state import State, epoch_seed
from arpgnet.pipeline.training.tasks import Task

# called with an epoch's number, and its losses and scores
OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Planned:
    """A fold with a seed, and the key that the run is stored under."""

    fold: Fold
    seed: int
    key: str

    @property
    def name(self) -> str:
        return f"fold{self.fold.number}-seed{self.seed}"

    def __str__(self) -> str:
        return f"fold {self.fold.number}, seed {self.seed}"


class Training:
    """Trains one run after the other into the store.

    Args:
        checkpoint_seconds: between two saved states; a killed run loses about this much work.
    """

    def __init__(
        self,
        params: TrainParams,
        config: ARPGNetConfig,
        dataset: Dataset,
        task: Task,
        store: Store,
        processes: Processes,
        checkpoint_seconds: float,
    ) -> None:
        self.params, self.config, self.dataset, self.task = params, config, dataset, task
        self.store, self.processes = store, processes
        self.checkpoint_seconds = checkpoint_seconds
        self.features = place(dataset.features, processes.device)

    def run(self, planned: Planned, on_epoch: OnEpoch) -> Outcome:
        """Train, from the last saved state on where there is one, and store the outcome.

        Args:
            on_epoch: called with each epoch, those of a saved state too.
        """
        with reproducible(self.params.threads):
            return self._run(planned, on_epoch)

    def _run(self, planned: Planned, on_epoch: OnEpoch) -> Outcome:
        fold, seed = planned.fold, planned.seed
        cached = CachedRun(self.store, planned.key)
        # an epoch number that training never reaches: the initial weights' own seed
        torch.manual_seed(epoch_seed(seed, fold.number, 2**31))
        trainer = Trainer(
            self.processes.fabric,
            build_network(self.config, self.dataset.metadata),
            self.dataset,
            self.features,
            self.task,
            Run(fold.number, seed, fold.train, fold.val),
            self.params,
        )
        state = self.processes.agreed(cached.checkpoint)
        for number, row in enumerate(state.history if state else []):
            on_epoch(number, row)
        saved = time.monotonic()

        def after(now: State) -> None:
            nonlocal saved
            on_epoch(len(now.history) - 1, now.history[-1])
            due = time.monotonic() - saved >= self.checkpoint_seconds
            if due and self.processes.first:
                cached.save_checkpoint(now)
                saved = time.monotonic()

        state = trainer.fit(state, after)
        # the test clips are read here, once, by the weights that validation has selected
        probabilities = (trainer.predict(clips) for clips in (fold.val, fold.test))
        outcome = Outcome(state.best_weights, state.history, state.best, *probabilities)
        if self.processes.first:
            cached.finish(outcome)
        return outcome
