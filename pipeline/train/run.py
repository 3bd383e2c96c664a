"""The train stage: every fold with every seed in one process that loads the data once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.clips import read_manifest, read_splits
from pipeline.config import Params
from pipeline.progress import Tracker, track
from pipeline.shards import ShardReader
from pipeline.store import Store, code_version, digest
from pipeline.train.checkpoints import save_run
from pipeline.train.curves import RUNS, CurveLog
from pipeline.train.data import Dataset, load_dataset, place
from pipeline.train.device import make_fabric, reproducible, resolve_device
from pipeline.train.fit import Run, State, Trainer, epoch_seed
from pipeline.train.folds import Fold, Part, check_fold, read_folds
from pipeline.train.kept import KeptRun, Outcome
from pipeline.train.network import build_network, network_config
from pipeline.train.predictions import NETWORK, PREDICTIONS, prediction_rows, write_predictions
from pipeline.train.probes import clip_inputs, logistic_regression, majority

# what decides the weights; the baselines are computed anew each time
CODE = (
    "models.arpgnet",
    "models.attention",
    "models.fusion",
    "pipeline.train.augment",
    "pipeline.train.data",
    "pipeline.train.fit",
    "pipeline.train.network",
    "pipeline.train.recall",
    "pipeline.train.schedule",
)
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

    Raises:
        UserError: the data does not allow training; the line says what is missing where.
    """
    manifest = read_manifest(root / "data/manifest.parquet")
    labels = {c.clip_id: c.label_index for c in manifest.clips if c.label_index is not None}
    with reproducible():
        dataset = load_dataset(
            labels, ShardReader(root / "data/appearance"), ShardReader(root / "data/graphs")
        )
        splits = read_splits(root / "data/splits.parquet")
        folds = read_folds(splits, labels, dataset, params.train.folds)
        for fold in folds:
            check_fold(fold, dataset, manifest.classes)
        tables = Tables(dataset, labels)
        networks = Networks(params, manifest.classes, dataset, store or Store())
        networks.checkpoint_seconds = checkpoint_seconds
        rows = [*networks.run(folds, root / RUNS, tables), *baselines(params, folds, tables)]
    write_predictions(rows, manifest.classes, root / PREDICTIONS)


class Tables:
    """Probabilities as rows of the predictions table."""

    def __init__(self, dataset: Dataset, labels: dict[str, int]) -> None:
        self.dataset, self.labels = dataset, labels

    def rows(
        self, fold: Fold, seed: int, part: Part, model: str, probabilities: np.ndarray
    ) -> Iterator[pa.Table]:
        """A part's rows; after those of the test clips, the quarantined ones without a value."""
        where: dict[str, Any] = {"model": model, "fold": fold.number, "seed": seed, "split": part}
        clips = [self.dataset.clip_ids[row] for row in fold.rows(part)]
        yield prediction_rows(clips, [self.labels[clip] for clip in clips], probabilities, **where)
        if part == "test" and fold.lost:
            lost = [self.labels[clip] for clip in fold.lost]
            yield prediction_rows(fold.lost, lost, None, **where)


class Networks:
    """Trains ARPGNet for every fold and seed, or takes finished runs from the store."""

    checkpoint_seconds = CHECKPOINT_SECONDS

    def __init__(self, params: Params, classes: list[str], dataset: Dataset, store: Store) -> None:
        self.params, self.classes, self.dataset, self.store = params, classes, dataset, store
        self.fabric = make_fabric(params.train)
        self.features = place(dataset.features, self.fabric.device)
        self.config = network_config(params, dataset.facts, len(classes))

    def run(self, folds: Sequence[Fold], out: Path, tables: Tables) -> Iterator[pa.Table]:
        """Write `<out>/fold<f>-seed<s>/` and yield validation and test rows, run by run."""
        train = self.params.train
        seeds = list(dict.fromkeys(train.seeds))
        with track(len(folds) * len(seeds) * train.epochs, "train") as progress:
            for fold in folds:
                for seed in seeds:
                    outcome = self._run(fold, seed, out / f"fold{fold.number}-seed{seed}", progress)
                    yield from tables.rows(fold, seed, "val", NETWORK, outcome.val)
                    yield from tables.rows(fold, seed, "test", NETWORK, outcome.test)

    def _run(self, fold: Fold, seed: int, folder: Path, progress: Tracker) -> Outcome:
        kept = KeptRun(self.store, self._key(fold, seed))
        outcome = kept.finished()
        with CurveLog(folder / "curves") as log:
            if outcome is None:
                word = "trained"
                outcome = self._train(fold, seed, kept, log, progress)
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
            "fold": fold.number,
            "seed": seed,
            "best_epoch": outcome.best,
            "validation": best,
        }
        save_run(folder, self.config, outcome.weights, info)
        return outcome

    def _train(
        self, fold: Fold, seed: int, kept: KeptRun, log: CurveLog, progress: Tracker
    ) -> Outcome:
        # an epoch number that training never reaches: the initial weights' own seed
        torch.manual_seed(epoch_seed(seed, fold.number, 2**31))
        train, val, test = (torch.from_numpy(rows) for rows in (fold.train, fold.val, fold.test))
        trainer = Trainer(
            self.fabric,
            build_network(self.config, self.dataset.facts),
            self.features,
            Run(fold.number, seed, train, val),
            self.params.train,
            self.dataset.facts["mirror"],
        )
        state = kept.checkpoint()
        for row in state.history if state else []:
            log.add(row)
            progress.advance()
        saved = time.monotonic()

        def on_epoch(now: State) -> None:
            nonlocal saved
            log.add(now.history[-1])
            progress.advance()
            if time.monotonic() - saved >= self.checkpoint_seconds:
                kept.save_checkpoint(now)
                saved = time.monotonic()

        state = trainer.fit(state, on_epoch)
        # the test clips are read here, once, by the weights that validation has selected
        probabilities = (trainer.predict(clips).numpy() for clips in (val, test))
        return Outcome(state.best_weights, state.history, state.best, *probabilities)

    def _settings(self) -> dict[str, Any]:
        """The parameters that decide a run's weights."""
        device, precision = resolve_device(self.params.train)
        train = self.params.train.model_dump(exclude={"folds", "seeds"})
        return {
            "appearance": {"vector": self.params.appearance.vector},
            "relation": self.params.relation.model_dump(),
            "fusion": self.params.fusion.model_dump(),
            "train": train | {"device": device, "precision": precision},
        }

    def _key(self, fold: Fold, seed: int) -> str:
        dataset, label = self.dataset, self.dataset.features.label
        clips = {
            part: [
                [dataset.keys[dataset.clip_ids[row]], int(label[row])] for row in fold.rows(part)
            ]
            for part in ("train", "val", "test")
        }
        return digest(
            code_version(*CODE),
            torch.__version__,
            self._settings(),
            dataset.facts,
            dataset.pooling_key,
            self.classes,
            clips,
            fold.number,
            seed,
        )


def baselines(params: Params, folds: Sequence[Fold], tables: Tables) -> Iterator[pa.Table]:
    """The baselines' test rows. They draw no random numbers: the first seed stands for all."""
    seed = params.train.seeds[0]
    balanced = params.train.class_weights != "none"
    features = tables.dataset.features
    label = features.label.numpy()
    inputs = clip_inputs(features)
    with track(len(folds) * len(inputs), "baselines") as progress:
        for fold in folds:
            shares = majority(label, fold, int(label.max()) + 1)
            yield from tables.rows(fold, seed, "test", "majority", shares)
            for name, values in inputs.items():
                found = logistic_regression(values, label, fold, balanced=balanced)
                yield from tables.rows(fold, seed, "test", name, found)
                progress.advance()
