"""Runs side by side in worker processes, on a CPU: each as it would come out alone.

A run's products are too small to gain much from threads. All processes read the features from one
place (`SharedFeatures`). Workers put what they have trained into the store, and the stage's own
process writes everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psutil
import torch

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.runner.dispatch import processes_here
from arpgnet.pipeline.runner.workers import report
from arpgnet.pipeline.store import Place, Store
from arpgnet.pipeline.train.folds import Fold
from arpgnet.pipeline.train.probes import Fitted, Probes, baselines
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.train.training import Planned, Training
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import keep_freed_memory
from arpgnet.pipeline.training.tasks import make_task

# of a worker, beside the features: 0.8 GB for the demo's network, more for wide ones
WORKER_BYTES = 2 << 30


def workers(params: Params, processes: Processes) -> int:
    """Return how many runs go side by side."""
    if not processes.alone:
        return 1
    fit_in_memory = psutil.virtual_memory().available // WORKER_BYTES
    return int(max(1, min(processes_here(params.engine, params.train.threads), fit_in_memory)))


@dataclass
class RunJob:
    """Trains a planned run into the store and reports its epochs (None), or fits a fold's
    baselines (`Fitted`); see `pipeline.runner.workers.Job`."""

    params: Params
    config: ARPGNetConfig
    dataset: Dataset
    root: Place
    checkpoint_seconds: float

    def start(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(self.params.train.threads)

    def do(self, item: Planned | Fold) -> Fitted | None:
        if isinstance(item, Fold):
            return list(baselines(self._probes, item, params=self.params.train))
        self._training.run(item, lambda *epoch: report(epoch))
        return None

    @cached_property
    def _task(self) -> Any:
        return make_task(self.dataset, self.params.train)

    @cached_property
    def _training(self) -> Training:
        train = self.params.train
        return Training(
            train,
            self.config,
            self.dataset,
            self._task,
            Store(self.root),
            Processes(train),
            self.checkpoint_seconds,
        )

    @cached_property
    def _probes(self) -> Probes:
        return Probes(self._task)
