"""The train stage: every fold with every seed, by processes that load the data once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.progress import Tracker, track
from arpgnet.pipeline.runner.workers import Crashed, run_in_workers
from arpgnet.pipeline.store import Store, code_version, digest
from arpgnet.pipeline.tables.curves import RUN_METADATA, RUNS
from arpgnet.pipeline.tables.manifest import read_manifest, read_splits
from arpgnet.pipeline.tables.predictions import (
    FURTHER,
    NETWORK,
    PREDICTIONS,
    write_predictions,
)
from arpgnet.pipeline.tables.text_files import write_json
from arpgnet.pipeline.train.curve_log import RunLog
from arpgnet.pipeline.train.folds import Fold, Part, check_fold, read_folds, refits
from arpgnet.pipeline.train.further import FurtherTables
from arpgnet.pipeline.train.probes import CachedBaselines, Probes, baselines
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.train.run_info import RunInfo, origin
from arpgnet.pipeline.train.side_by_side import RunJob, workers
from arpgnet.pipeline.train.smooth import Smoothings
from arpgnet.pipeline.train.tables import Tables
from arpgnet.pipeline.train.training import CachedRun, Outcome, Planned, Tempered, Training
from arpgnet.pipeline.training.checkpoints import save_run
from arpgnet.pipeline.training.data import Dataset, load
from arpgnet.pipeline.training.device import keep_freed_memory, reproducible, resolve_device
from arpgnet.pipeline.training.network import network_config
from arpgnet.pipeline.training.tasks import Task, further_tasks, make_task

# a killed run loses at most about this much work, and saving takes a small part of it
CHECKPOINT_SECONDS = 5.0


def train(
    params: Params,
    *,
    root: Path = Path(),
    store: Store | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train ARPGNet and the baselines; write `artifacts/` under `root`.

    Where several processes share the work (torchrun, or `train.devices`), the first one writes.

    Raises:
        UserError: the data does not allow training; the line says what is missing where.
    """
    keep_freed_memory()
    processes = Processes(params.train)
    with reproducible(params.train.threads, algorithms=not processes.alone):
        worker_count = workers(params, processes)
        manifest = read_manifest(root / "data/manifest.parquet")
        dataset, labels = load(
            manifest,
            root,
            processes.device,
            task=params.task,
            views=params.view_fusion,
            rank=processes.rank,
            world=processes.world,
            shared=worker_count > 1,
        )
        task = make_task(dataset, params.train)
        splits = read_splits(root / "data/splits.parquet")
        folds = read_folds(splits, labels.of_clip, dataset, params.train.folds)
        for fold in folds:
            check_fold(fold, task)
        tables = Tables(dataset, task, labels)
        further = [
            FurtherTables(Tables(one.dataset, one, its.labels))
            for one, its in zip(further_tasks(dataset, params.train), dataset.further, strict=True)
        ]
        for one in further:
            one.check(folds, task)
        networks = Networks(
            params,
            origin(manifest),
            dataset,
            task,
            store or Store(),
            processes,
            worker_count,
            checkpoint_seconds,
            Smoothings(params.evaluate.smooth, task),
            further,
        )
        rows = list(networks.run(folds, root / RUNS, tables))
        rows += probe_rows(params, folds, tables, networks)
        # in every process: they add up the inputs together
        further_baselines = [
            list(probe_rows(params, [one.fold(fold) for fold in folds], one.tables, networks))
            for one in further
        ]
        processes.part()
        if processes.first:
            write_predictions(rows, dataset.kind.outputs, root / PREDICTIONS, dataset.kind.name)
            shutil.rmtree(root / FURTHER, ignore_errors=True)
            for one, baseline_rows in zip(further, further_baselines, strict=True):
                one.write(baseline_rows, root)


@dataclass
class Networks:
    """Trains ARPGNet for every fold and seed, or takes finished runs from the store.

    Attributes:
        origin: of the training data, as `origin` returns it.
        worker_count: runs trained at a time, each in its own process; 1: in turn, in this one.
        smoothings: of each run's predictions of frames, chosen when it is finished.
        further: what is gathered of the further tasks.
    """

    params: Params
    origin: dict[str, Any]
    dataset: Dataset
    task: Task
    store: Store
    processes: Processes
    worker_count: int
    checkpoint_seconds: float
    smoothings: Smoothings
    further: Sequence[FurtherTables] = ()
    # keys of runs that the store has when the stage begins: their epochs are counted then
    _restored: set[str] = field(default_factory=set)

    @property
    def _score(self) -> str:
        """The score of validation that messages name: the first of those that are counted."""
        return "uar" if self.dataset.kind.calibrates else self.task.select

    @cached_property
    def config(self) -> ARPGNetConfig:
        return network_config(
            self.params,
            self.dataset.metadata,
            len(self.dataset.kind.outputs),
            max(one.frames for one in (self.task, *(also.tables.task for also in self.further))),
            sum(len(one.kind.outputs) for one in self.dataset.further),
        )

    def run(self, folds: Sequence[Fold], output: Path, tables: Tables) -> Iterator[pa.Table]:
        """Write `<output>/fold<f>-seed<s>/` and yield validation and test rows, run by run."""
        seeds = dict.fromkeys(self.params.train.seeds)
        plan = [Planned(fold, seed, self._key(fold, seed)) for fold in folds for seed in seeds]
        total = sum(self._epochs(one.fold) for one in plan)
        with track(total, "train", "epochs", quiet=not self.processes.first) as progress:
            for one in plan:
                if self.store.has(CachedRun.NAMESPACE, one.key, "file"):
                    self._restored.add(one.key)
                    progress.advance(self._epochs(one.fold), restored=True)
            done = self._side_by_side(plan, folds, output, progress)
            for one in plan:
                outcome = self._outcome(one) if one.key in done else None
                # the store may have lost an entry since it was written
                outcome = outcome or self._run(one, output / one.name, progress)
                parts: dict[Part, Tempered] = {"val": outcome.val, "test": outcome.test}
                for part, found in parts.items():
                    # what the saved network gives, see `load_run`
                    calibrate = self.params.evaluate.calibrate
                    probabilities = found.calibrated if calibrate else found.plain
                    probabilities = self.smoothings.apply(one.fold, one.seed, part, probabilities)
                    yield from tables.rows(one.fold, one.seed, part, NETWORK, probabilities)
                for another in self.further:
                    another.add(one, outcome)

    def _side_by_side(
        self, plan: Sequence[Planned], folds: Sequence[Fold], output: Path, progress: Tracker
    ) -> set[str]:
        """Train what the store lacks in workers; return the keys of the runs that are written.

        The baselines are fitted there too.
        """
        missing = [one for one in plan if one.key not in self._restored]
        if self.worker_count == 1 or len(missing) < 2:
            return set()
        unfitted = [fold for fold in folds if self.baselines_of(fold).finished() is None]
        logs: dict[str, RunLog] = {}
        done: set[str] = set()

        def report(one: Planned, epoch: tuple[int, dict[str, float], bool]) -> None:
            if one.key not in logs:
                logs[one.key] = opened.enter_context(self._log(one, output / one.name, progress))
            logs[one.key].add(*epoch)

        job = RunJob(
            self.params, self.config, self.dataset, self.store.root, self.checkpoint_seconds
        )
        with ExitStack() as opened:
            items: list[Planned | Fold] = [*missing, *unfitted]
            for item, result in run_in_workers(job, items, self.worker_count, on_report=report):
                if isinstance(result, Crashed):
                    raise UserError(
                        f"a worker that trained died twice (exit code {result.exit_code}): not "
                        "enough memory? set engine.workers: 1"
                    )
                if isinstance(item, Fold):
                    self.baselines_of(item).finish(result)
                elif (outcome := self._outcome(item)) is not None:
                    logs[item.key].close()
                    folder, log = output / item.name, logs[item.key]
                    self._conclude(item, folder, outcome, log, "trained", progress)
                    done.add(item.key)
        return done

    def _run(self, one: Planned, folder: Path, progress: Tracker) -> Outcome:
        """Take a run from the store or train it here, and write its folder."""
        outcome = self.processes.agreed(partial(self._outcome, one))
        word = "trained" if outcome is None else "cached"
        with self._log(one, folder, progress) as log:
            if outcome is None:
                outcome = self._training.run(one, log.add)
            for number, row in enumerate(outcome.history):
                log.add(number, row)
        self._conclude(one, folder, outcome, log, word, progress)
        return outcome

    @cached_property
    def _training(self) -> Training:
        return Training(
            self.params.train,
            self.config,
            self.dataset,
            self.task,
            self.store,
            self.processes,
            self.checkpoint_seconds,
        )

    def _outcome(self, one: Planned) -> Outcome | None:
        return CachedRun(self.store, one.key).finished()

    def _log(self, one: Planned, folder: Path, progress: Tracker) -> RunLog:
        counted = one.key in self._restored
        advance = (lambda **_: None) if counted else progress.advance
        return RunLog(folder / "curves" if self.processes.first else None, advance)

    def _conclude(
        self,
        one: Planned,
        folder: Path,
        outcome: Outcome,
        log: RunLog,
        word: str,
        progress: Tracker,
    ) -> None:
        """Report the result of a run, and write its network."""
        if one.key not in self._restored:
            # epochs that early stopping has saved
            progress.advance(self._epochs(one.fold) - log.count)
        best = outcome.history[outcome.best]
        progress.note(
            f"{one}: {word}, {len(outcome.history)} epochs, validation "
            f"{self._score.upper()} {best[f'val_{self._score}']:.3f} in epoch {outcome.best + 1}"
            f"{', refitted' if outcome.refit else ''}"
        )
        training = self._info.of_training(one, outcome)
        if training["improving"]:
            progress.note(
                f"{one}: still improving in its last epoch: try a higher train.epochs or "
                "train.min_steps"
            )
        domain, unlike = self._info.domain(one.fold)
        if self.processes.first:
            info = self._info.of_network(one, outcome) | training
            save_run(folder, self.config, outcome.weights, info, domain)
            # the network's own file knows nothing of the test part
            write_json(training | {"domain": unlike}, folder / RUN_METADATA)

    @cached_property
    def _info(self) -> RunInfo:
        return RunInfo(
            self.params,
            self.origin,
            self._settings(),
            self.dataset,
            self.task,
            self.processes,
            self.smoothings,
            self.further,
        )

    def _epochs(self, fold: Fold) -> int:
        """Return how many epochs a run has at most."""
        return self.params.train.epochs * (1 + refits(self.params.train, self.task, fold))

    def _settings(self) -> dict[str, Any]:
        """Return the parameters that decide a run's weights."""
        device, precision = resolve_device(self.params.train)
        train = self.params.train.model_dump(exclude={"folds", "seeds", "devices"})
        # masks of dropout depend on how many processes draw them
        world = self.processes.world
        return {
            "appearance": {"vector": self.params.appearance.vector},
            **({"views": self.params.views.model_dump()} if self.params.appearance.dual else {}),
            "relation": self.params.relation.model_dump(),
            "fusion": self.params.fusion.model_dump(),
            "task": self.params.task.deciding(),
            "train": train | {"device": device, "precision": precision, "processes": world},
        }

    def _key(self, fold: Fold, seed: int) -> str:
        code = code_version("arpgnet.pipeline.train.training")
        also = [self._data(fold, one.tables.task) for one in self.further]
        return digest(code, self._settings(), self._data(fold, self.task), fold.number, seed, *also)

    def baselines_of(self, fold: Fold, task: Task | None = None) -> CachedBaselines:
        """Return the store entry of a fold's baselines, by default of the main task's."""
        code = code_version("arpgnet.pipeline.train.probes")
        data = self._data(fold, task or self.task)
        return CachedBaselines(self.store, digest(code, self._settings()["train"], data))

    def _data(self, fold: Fold, task: Task) -> list[Any]:
        """Return a fold's clips with a task's labels, and what is common to all folds."""
        dataset = task.dataset
        clips = {
            part: [
                [dataset.keys[dataset.clip_ids[clip]], hashed(dataset.label[clip])]
                for clip in fold.clips(part)
            ]
            for part in ("train", "val", "test")
        }
        everyone = np.concatenate([fold.clips(part) for part in ("train", "val", "test")])
        units = task.units(everyone) if dataset.frame_labels else None
        frames = units and [hashed(units.label), hashed(units.frame_index)]
        kind = [dataset.kind.name, dataset.kind.outputs]
        return [dataset.metadata, dataset.pooling_key, *kind, clips, frames]


def hashed(values: np.ndarray | None) -> str:
    """Return the sha256 of an array's numbers; NaN, which has no JSON, among them."""
    return hashlib.sha256(b"" if values is None else values.tobytes()).hexdigest()


def probe_rows(
    params: Params,
    folds: Sequence[Fold],
    tables: Tables,
    networks: Networks,
) -> Iterator[pa.Table]:
    """Yield the baselines' test rows. They draw no random numbers: the first seed stands for all.
    Their predictions of frames are smoothed as its run's are, of further tasks neither.

    Several processes fit the same ones: the inputs come from all, and to wait would take as long.
    """
    seed = params.train.seeds[0]
    processes = networks.processes
    probes = cache(lambda: Probes(tables.task, processes.total))
    with track(len(folds), "baselines", "folds", quiet=not processes.first) as progress:
        for fold in folds:
            cached = networks.baselines_of(fold, tables.task)
            fitted = processes.agreed(cached.finished)
            if fitted is None:
                fitted = list(baselines(probes(), fold, params=params.train))
                if processes.first:
                    cached.finish(fitted)
            for name, part, values in fitted:
                if tables.task is networks.task:
                    values = networks.smoothings.apply(fold, seed, part, values)
                yield from tables.rows(fold, seed, part, name, values)
            progress.advance()
