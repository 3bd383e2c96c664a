"""The train stage: every fold with every seed, by processes that load the data once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.clips import Manifest, read_frame_label_table, read_manifest, read_splits
from pipeline.config import Params
from pipeline.progress import Tracker, track
from pipeline.shards import ShardReader
from pipeline.store import Store, code_version, digest
from pipeline.train.checkpoints import save_run
from pipeline.train.curve_log import CurveLog
from pipeline.train.curves import RUNS
from pipeline.train.data import Dataset, labels_of, load_dataset
from pipeline.train.device import make_fabric, reproducible, resolve_device
from pipeline.train.features import place
from pipeline.train.fit import Run, Trainer
from pipeline.train.folds import Fold, Part, check_fold, read_folds
from pipeline.train.kept import KeptRun, Outcome
from pipeline.train.network import build_network, network_config
from pipeline.train.predictions import (
    NETWORK,
    PREDICTIONS,
    Units,
    prediction_rows,
    write_predictions,
)
from pipeline.train.probes import Probes, baselines
from pipeline.train.processes import Processes, total
from pipeline.train.state import State, epoch_seed
from pipeline.train.tasks import Task, frame_units, make_task

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
    with reproducible():
        fabric = make_fabric(params.train)
        processes = Processes(fabric)
        manifest = read_manifest(root / "data/manifest.parquet")
        rank, world = fabric.global_rank, fabric.world_size
        dataset, labels = load(manifest, root, fabric.device, rank=rank, world=world)
        task = make_task(dataset, params.train)
        splits = read_splits(root / "data/splits.parquet")
        folds = read_folds(splits, labels, dataset, params.train.folds)
        for fold in folds:
            check_fold(fold, task, manifest.classes)
        tables = Tables(dataset, task, labels)
        networks = Networks(params, manifest.classes, dataset, task, store or Store(), processes)
        networks.checkpoint_seconds = checkpoint_seconds
        rows = list(networks.run(folds, root / RUNS, tables))
        rows += probe_rows(params, manifest.classes, folds, tables, processes)
        processes.part()
        if processes.first:
            write_predictions(rows, manifest.classes, root / PREDICTIONS)


def load(
    manifest: Manifest,
    root: Path,
    device: torch.device | str = "cpu",
    *,
    rank: int = 0,
    world: int = 1,
) -> tuple[Dataset, dict[str, int]]:
    """The usable clips' features, of several processes each its share; and the class of every
    labelled clip, quarantined ones too (-1 where frames are labelled)."""
    table = read_frame_label_table(root / "data/frame_labels.parquet")
    labels, frame_labels = labels_of(manifest.clips, table)
    dataset = load_dataset(
        labels,
        ShardReader(root / "data/appearance"),
        ShardReader(root / "data/graphs"),
        frame_labels=frame_labels,
        device=device,
        rank=rank,
        world=world,
    )
    return dataset, labels


class Tables:
    """Probabilities as rows of the predictions table."""

    def __init__(self, dataset: Dataset, task: Task, labels: dict[str, int]) -> None:
        self.dataset, self.task, self.labels = dataset, task, labels

    def rows(
        self, fold: Fold, seed: int, part: Part, model: str, probabilities: np.ndarray
    ) -> Iterator[pa.Table]:
        """A part's rows; after those of the test clips, the quarantined ones without a value."""
        where: dict[str, Any] = {"model": model, "fold": fold.number, "seed": seed, "split": part}
        yield prediction_rows(self.task.units(fold.clips(part)), probabilities, **where)
        if part == "test" and fold.lost:
            yield prediction_rows(self._lost(fold.lost), None, **where)

    def _lost(self, clips: list[str]) -> Units:
        if self.dataset.frame_labels is not None:
            return frame_units(clips, self.dataset)
        label = np.array([self.labels[clip] for clip in clips], np.int64)
        return Units(np.array(clips, dtype=object), label, None)


class Networks:
    """Trains ARPGNet for every fold and seed, or takes finished runs from the store."""

    checkpoint_seconds = CHECKPOINT_SECONDS

    def __init__(
        self,
        params: Params,
        classes: list[str],
        dataset: Dataset,
        task: Task,
        store: Store,
        processes: Processes,
    ) -> None:
        self.params, self.classes, self.dataset, self.task = params, classes, dataset, task
        self.store, self.processes = store, processes
        self.features = place(dataset.features, processes.fabric.device)
        self.config = network_config(params, dataset.facts, len(classes), task.frames)

    def run(self, folds: Sequence[Fold], out: Path, tables: Tables) -> Iterator[pa.Table]:
        """Write `<out>/fold<f>-seed<s>/` and yield validation and test rows, run by run."""
        train = self.params.train
        seeds = list(dict.fromkeys(train.seeds))
        total = len(folds) * len(seeds) * train.epochs
        with track(total, "train", quiet=not self.processes.first) as progress:
            for fold in folds:
                for seed in seeds:
                    outcome = self._run(fold, seed, out / f"fold{fold.number}-seed{seed}", progress)
                    yield from tables.rows(fold, seed, "val", NETWORK, outcome.val)
                    yield from tables.rows(fold, seed, "test", NETWORK, outcome.test)

    def _run(self, fold: Fold, seed: int, folder: Path, progress: Tracker) -> Outcome:
        kept = KeptRun(self.store, self._key(fold, seed))
        outcome = self.processes.agreed(kept.finished)
        with CurveLog(folder / "curves" if self.processes.first else None) as log:
            if outcome is None:
                word = "trained"
                outcome = self._train(fold, seed, kept, log, progress)
                if self.processes.first:
                    kept.finish(outcome)
            else:
                word = "kept"
                for row in outcome.history:
                    log.add(row)
        # epochs that early stopping or the store has saved
        progress.advance(self.params.train.epochs - (word == "trained") * len(outcome.history))
        best = outcome.history[outcome.best]
        progress.note(
            f"fold {fold.number}, seed {seed}: {word}, {len(outcome.history)} epochs, validation "
            f"UAR {best['val_uar']:.3f} in epoch {outcome.best}"
        )
        info = {
            "classes": self.classes,
            "params": self._settings(),
            "features": self.dataset.facts,
            "task": self.task.name,
            "fold": fold.number,
            "seed": seed,
            "best_epoch": outcome.best,
            "validation": best,
        }
        if self.processes.first:
            save_run(folder, self.config, outcome.weights, info)
        return outcome

    def _train(
        self, fold: Fold, seed: int, kept: KeptRun, log: CurveLog, progress: Tracker
    ) -> Outcome:
        # an epoch number that training never reaches: the initial weights' own seed
        torch.manual_seed(epoch_seed(seed, fold.number, 2**31))
        trainer = Trainer(
            self.processes.fabric,
            build_network(self.config, self.dataset.facts),
            self.dataset,
            self.features,
            self.task,
            Run(fold.number, seed, fold.train, fold.val),
            self.params.train,
        )
        state = self.processes.agreed(kept.checkpoint)
        for row in state.history if state else []:
            log.add(row)
            progress.advance()
        saved = time.monotonic()

        def on_epoch(now: State) -> None:
            nonlocal saved
            log.add(now.history[-1])
            progress.advance()
            due = time.monotonic() - saved >= self.checkpoint_seconds
            if due and self.processes.first:
                kept.save_checkpoint(now)
                saved = time.monotonic()

        state = trainer.fit(state, on_epoch)
        # the test clips are read here, once, by the weights that validation has selected
        probabilities = (trainer.predict(clips) for clips in (fold.val, fold.test))
        return Outcome(state.best_weights, state.history, state.best, *probabilities)

    def _settings(self) -> dict[str, Any]:
        """The parameters that decide a run's weights."""
        device, precision = resolve_device(self.params.train)
        train = self.params.train.model_dump(exclude={"folds", "seeds", "devices"})
        # masks of dropout depend on how many processes draw them
        world = self.processes.fabric.world_size
        return {
            "appearance": {"vector": self.params.appearance.vector},
            "relation": self.params.relation.model_dump(),
            "fusion": self.params.fusion.model_dump(),
            "train": train | {"device": device, "precision": precision, "processes": world},
        }

    def _key(self, fold: Fold, seed: int) -> str:
        dataset = self.dataset
        clips = {
            part: [
                [dataset.keys[dataset.clip_ids[clip]], int(dataset.label[clip])]
                for clip in fold.clips(part)
            ]
            for part in ("train", "val", "test")
        }
        everyone = np.concatenate([fold.clips(part) for part in ("train", "val", "test")])
        frames = self.task.units(everyone).label.tobytes() if dataset.frame_labels else b""
        return digest(
            code_version(__name__),
            self._settings(),
            dataset.facts,
            dataset.pooling_key,
            self.classes,
            clips,
            hashlib.sha256(frames).hexdigest(),
            fold.number,
            seed,
        )


def probe_rows(
    params: Params,
    classes: Sequence[str],
    folds: Sequence[Fold],
    tables: Tables,
    processes: Processes,
) -> Iterator[pa.Table]:
    """The baselines' test rows. They draw no random numbers: the first seed stands for all.

    Several processes fit the same ones: the inputs come from all, and to wait would take as long.
    """
    seed = params.train.seeds[0]
    balanced = params.train.class_weights != "none"
    probes = Probes(tables.task, partial(total, processes.fabric))
    steps = len(folds) * (1 + len(probes.names))
    with track(steps, "baselines", quiet=not processes.first) as progress:
        for fold in folds:
            parts = {"train": fold.train, "val": fold.val, "test": fold.test}
            for name, found in baselines(probes, parts, classes=len(classes), balanced=balanced):
                yield from tables.rows(fold, seed, "test", name, found)
                progress.advance()
