"""A run from its settings to its outcome in the store, in the stage's process or in a worker's.

What is in the store is not computed again, and a killed run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
import torch

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.train.calibrate import fit_temperature
from arpgnet.pipeline.train.fit import Trainer
from arpgnet.pipeline.train.folds import Fold, Part, annotated, refits
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import reproducible
from arpgnet.pipeline.training.features import Features, place
from arpgnet.pipeline.training.loop import OnEpoch
from arpgnet.pipeline.training.network import build_network
from arpgnet.pipeline.training.state import (
    CachedState,
    State,
    Weights,
    epoch_seed,
    read_tensors,
)
from arpgnet.pipeline.training.tasks import Task


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


@dataclass(frozen=True)
class Tempered:
    """Probabilities of the same units, float32 [U, K], as the network gives them (`plain`) and at
    the run's temperature (`calibrated`)."""

    plain: np.ndarray
    calibrated: np.ndarray

    @classmethod
    def of(cls, predicted: Callable[[float], np.ndarray], temperature: float) -> Tempered:
        return cls(predicted(1.0), predicted(temperature))

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return {f"{name}/{kind}": torch.from_numpy(value) for kind, value in vars(self).items()}

    @classmethod
    def read(cls, tensors: dict[str, torch.Tensor], name: str) -> Tempered:
        """Take what `tensors` has given out of the tensors."""
        return cls(*(tensors.pop(f"{name}/{one.name}").numpy() for one in fields(cls)))


@dataclass(frozen=True)
class Outcome:
    """A finished run: the weights that are used, its history (`best` is the selected epoch), and
    its probabilities of the validation and test units.

    `temperature` is fitted on validation; `val` and `test` have the probabilities without and with
    it. Where it was refitted, `refit` has the losses of that training, epoch by epoch: the weights
    and the test units' probabilities are its; all else is from before, by the selected weights.
    `further` has what is predicted of further tasks, by `<kind>/<part>`.
    """

    weights: Weights
    history: list[dict[str, float]]
    best: int
    temperature: float
    val: Tempered
    test: Tempered
    refit: list[dict[str, float]] = field(default_factory=list)
    further: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Selected:
    """What is kept of a run before it is refitted; as in `Outcome`."""

    history: list[dict[str, float]]
    best: int
    temperature: float
    val: Tempered
    further: dict[str, np.ndarray] = field(default_factory=dict)


FURTHER = "further/"


def further_tensors(found: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return the tensors that an entry has of further tasks."""
    return {f"{FURTHER}{name}": torch.from_numpy(values) for name, values in found.items()}


def take_further(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Take what `further_tensors` has given out of the tensors."""
    names = [name for name in tensors if name.startswith(FURTHER)]
    return {name.removeprefix(FURTHER): tensors.pop(name).numpy() for name in names}


class CachedRun(CachedState):
    """The entry of a training run in the store."""

    NAMESPACE = "train"

    def finished(self) -> Outcome | None:
        found = self._get(self.NAMESPACE, read_tensors)
        if found is None:
            return None
        tensors, info = found
        val, test = (Tempered.read(tensors, part) for part in ("val", "test"))
        further = take_further(tensors)
        weights = {name.removeprefix("weights/"): value for name, value in tensors.items()}
        return Outcome(weights=weights, val=val, test=test, further=further, **info)

    def finish(self, outcome: Outcome) -> None:
        """Store a finished run and remove its checkpoint."""
        tensors = {f"weights/{name}": value for name, value in outcome.weights.items()}
        tensors |= outcome.val.tensors("val") | outcome.test.tensors("test")
        tensors |= further_tensors(outcome.further)
        names = ("history", "best", "temperature", "refit")
        info = {name: getattr(outcome, name) for name in names}
        self._finish(tensors, info)
        for rest in (CachedSelection(self.store, self.key), CachedRefit(self.store, self.key)):
            rest.remove()


class CachedSelection(CachedState):
    """The entry of a run that is to be refitted, from its selection to its end; until then its
    checkpoint is that of `CachedRun`."""

    NAMESPACE = "train-selected"

    def finished(self) -> Selected | None:
        found = self._get(self.NAMESPACE, read_tensors)
        if found is None:
            return None
        tensors, info = found
        return Selected(val=Tempered.read(tensors, "val"), further=take_further(tensors), **info)

    def finish(self, selected: Selected) -> None:
        names = ("history", "best", "temperature")
        info = {name: getattr(selected, name) for name in names}
        self._finish(selected.val.tensors("val") | further_tensors(selected.further), info)


class CachedRefit(CachedState):
    """The checkpoint of a run that is being refitted."""

    NAMESPACE = "train-refit"


def further_of(trainer: Trainer, part: Part) -> dict[str, np.ndarray]:
    """Predict a part of the fold in each further task, those clips that it annotates."""
    return {
        f"{task.dataset.kind.name}/{part}": trainer.predict_further(
            number, annotated(trainer.fold, task).clips(part)
        )
        for number, task in enumerate(one.task for one in trainer.further)
    }


@dataclass
class Training:
    """Trains one run after the other into the store.

    Attributes:
        checkpoint_seconds: between two saved states; a killed run loses about this much work.
    """

    params: TrainParams
    config: ARPGNetConfig
    dataset: Dataset
    task: Task
    store: Store
    processes: Processes
    checkpoint_seconds: float

    @cached_property
    def _features(self) -> Features:
        return place(self.dataset.features, self.processes.device)

    def run(self, planned: Planned, on_epoch: OnEpoch) -> Outcome:
        """Train, from the last saved state on where there is one, and store the outcome.

        Args:
            on_epoch: called with each epoch, those of a saved state too.
        """
        with reproducible(self.params.threads):
            return self._run(planned, on_epoch)

    def _run(self, planned: Planned, on_epoch: OnEpoch) -> Outcome:
        fold = planned.fold
        cached = CachedRun(self.store, planned.key)
        # the test clips are read here, once, by the weights that are kept
        if not refits(self.params, self.task, fold):
            trainer, state = self._fit(planned, cached, on_epoch)
            chosen, refit = self._selected(trainer, state), []
        else:
            chosen = self._select(planned, on_epoch)
            done = len(chosen.history)
            trainer, state = self._fit(
                planned,
                CachedRefit(self.store, planned.key),
                lambda number, row, restored: on_epoch(done + number, row, restored),
                refit=chosen.best,
            )
            refit = state.history
        outcome = Outcome(
            weights=state.best_weights,
            **{**vars(chosen), "further": chosen.further | further_of(trainer, "test")},
            test=Tempered.of(trainer.predict(fold.test), chosen.temperature),
            refit=refit,
        )
        if self.processes.first:
            cached.finish(outcome)
        return outcome

    def _select(self, planned: Planned, on_epoch: OnEpoch) -> Selected:
        """Choose the epoch of a run that is to be refitted, or take it from the store."""
        cached = CachedSelection(self.store, planned.key)
        found = self.processes.agreed(cached.finished)
        if found is not None:
            for number, row in enumerate(found.history):
                on_epoch(number, row, True)
            return found
        running = CachedRun(self.store, planned.key)
        trainer, state = self._fit(planned, running, on_epoch)
        found = self._selected(trainer, state)
        if self.processes.first:
            cached.finish(found)
            running.remove_checkpoint()
        return found

    def _selected(self, trainer: Trainer, state: State) -> Selected:
        """Fit the temperature of a run whose epoch is chosen."""
        val = trainer.fold.val
        predicted = trainer.predict(val)
        temperature = 1.0
        if self.dataset.kind.calibrates:
            temperature = fit_temperature(self.task.units(val).label, predicted(1.0))
        return Selected(
            state.history,
            state.best,
            temperature,
            Tempered.of(predicted, temperature),
            further_of(trainer, "val"),
        )

    def _fit(
        self,
        planned: Planned,
        cached: CachedState,
        on_epoch: OnEpoch,
        *,
        refit: int | None = None,
    ) -> tuple[Trainer, State]:
        """Train from the last checkpoint of `cached` on; see `Trainer` for `refit`."""
        fold, seed = planned.fold, planned.seed
        # an epoch number that training never reaches: the initial weights' own seed
        torch.manual_seed(epoch_seed(seed, fold.number, 2**31))
        trainer = Trainer(
            self.processes.fabric,
            build_network(self.config, self.dataset.metadata),
            self.dataset,
            self._features,
            self.task,
            fold,
            seed,
            self.params,
            refit=refit,
        )
        state = trainer.fit(
            self.processes.agreed(cached.checkpoint),
            on_epoch,
            cached.save_checkpoint if self.processes.first else lambda _: None,
            self.checkpoint_seconds,
        )
        return trainer, state
