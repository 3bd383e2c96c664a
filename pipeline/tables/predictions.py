"""`artifacts/predictions.parquet`: what each model thinks of each clip, or labeled frame, that
it did not train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.parquet import open_parquet, write_parquet

PREDICTIONS = Path("artifacts/predictions.parquet")
# those of further tasks (`task.also`), one file each, beside the runs
FURTHER = RUNS / "also"
NETWORK = "arpgnet"

# the task whose predictions have classes; those of others have target values
EXPRESSION = "expression"

_HEAD = [
    pa.field("clip_id", pa.string(), nullable=False),
    pa.field("frame_index", pa.int32()),
    pa.field("model", pa.string(), nullable=False),
    pa.field("fold", pa.int32(), nullable=False),
    pa.field("seed", pa.int32(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
]
PREDICTIONS_SCHEMA = pa.schema(
    [
        *_HEAD,
        pa.field("label_index", pa.int32(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32())),
    ]
)
# NaN: not annotated
TARGET_PREDICTIONS_SCHEMA = pa.schema(
    [
        *_HEAD,
        pa.field("targets", pa.list_(pa.float32()), nullable=False),
        pa.field("values", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Units:
    """What is scored: each one's clip (str [U]) and its class (int64 [U]) or target values (float32
    [U, A], NaN: not annotated); of frames their numbers in the video too (int64 [U])."""

    clip_id: np.ndarray
    label: np.ndarray
    frame_index: np.ndarray | None

    def __len__(self) -> int:
        return len(self.label)


class Rows:
    """What both tables share: arrays of the same length, and what holds for all rows."""

    fold: np.ndarray
    seed: np.ndarray

    def select(self, rows: np.ndarray) -> Self:
        """Return the rows where the boolean array is true."""
        columns = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        # both tables are dataclasses
        return replace(self, **columns)  # type: ignore[type-var]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The (fold, seed) pairs that occur, in order."""
        return sorted(set(zip(self.fold.tolist(), self.seed.tolist(), strict=True)))


@dataclass(frozen=True)
class Predictions(Rows):
    """All rows of the table as arrays of the same length (rows), in file order.

    `frame_index` is -1 where whole clips are predicted. `probabilities` is float64 `[rows,
    classes]`, NaN where there is no prediction; `predicted` is the most probable class, -1 where
    there is none.
    """

    classes: list[str]
    clip_id: np.ndarray
    frame_index: np.ndarray
    model: np.ndarray
    fold: np.ndarray
    seed: np.ndarray
    split: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        known = ~np.isnan(self.probabilities).any(axis=1)
        return np.where(known, np.nan_to_num(self.probabilities).argmax(axis=1), -1)

    def mean_over_seeds(self) -> Predictions:
        """Return the mean probabilities of all seeds for what each fold predicts.

        The rows must be of one model and split: every seed of a fold has the same units, in the
        same order.
        """
        parts = []
        for fold in np.unique(self.fold):
            of_fold = self.select(self.fold == fold)
            seeds = [of_fold.select(of_fold.seed == seed) for seed in np.unique(of_fold.seed)]
            mean = np.mean([rows.probabilities for rows in seeds], axis=0)
            parts.append(replace(seeds[0], probabilities=mean, seed=np.zeros_like(seeds[0].seed)))
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in vars(self)
            if name != "classes"
        }
        return Predictions(self.classes, **columns)


@dataclass(frozen=True)
class TargetPredictions(Rows):
    """As `Predictions`, of a task with target values: `target` and `values` are float64 [rows, A],
    NaN for what is not annotated, and in rows without a prediction."""

    kind: str
    names: list[str]
    clip_id: np.ndarray
    frame_index: np.ndarray
    model: np.ndarray
    fold: np.ndarray
    seed: np.ndarray
    split: np.ndarray
    target: np.ndarray
    values: np.ndarray


def temper(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return the probabilities [..., K] that logits divided by a temperature would give, or by
    temperatures [..., 1]: float64, NaN where there are none."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-300)) / temperature
    powers: np.ndarray = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def prediction_rows(
    units: Units,
    values: np.ndarray | None,
    *,
    model: str,
    fold: int,
    seed: int,
    split: str,
) -> pa.Table:
    """Return a table of one model's predictions of one split; without values, of none.

    Args:
        units: what is predicted, U of them.
        values: probabilities or target values, [U, K]; rows of NaN where there is no prediction.
    """
    count = len(units)
    predicted = pa.nulls(count, pa.list_(pa.float32()))
    if values is not None:
        assert len(values) == count
        predicted = _lists(values, ~np.isnan(values).any(axis=1))
    frame = units.frame_index
    of_targets = units.label.ndim == 2
    if of_targets:
        label = _lists(units.label, np.ones(count, dtype=bool))
    else:
        label = pa.array(units.label.astype(np.int32))
    columns = [
        pa.array(units.clip_id, pa.string()),
        pa.nulls(count, pa.int32()) if frame is None else pa.array(frame.astype(np.int32)),
        pa.array([model] * count, pa.string()),
        pa.array(np.full(count, fold, np.int32)),
        pa.array(np.full(count, seed, np.int32)),
        pa.array([split] * count, pa.string()),
        label,
        predicted,
    ]
    schema = TARGET_PREDICTIONS_SCHEMA if of_targets else PREDICTIONS_SCHEMA
    return pa.Table.from_arrays(columns, schema=schema)


def _lists(values: np.ndarray, known: np.ndarray) -> pa.ListArray:
    """Return a list of float32 of each row [R, K]; null where bool [R] is false."""
    ends = np.concatenate([[0], np.cumsum(known) * values.shape[1]]).astype(np.int32)
    flat = pa.array(values[known].astype(np.float32).ravel())
    # pyarrow says "null" by a null offset at the row's start
    return pa.ListArray.from_arrays(pa.array(ends, mask=np.append(~known, False)), flat)


def write_predictions(
    tables: Sequence[pa.Table], names: Sequence[str], path: Path, kind: str = EXPRESSION
) -> None:
    """Write all rows to `path`; the names of the classes or targets go into the schema's metadata.

    Args:
        kind: the task.
    """
    metadata = {b"classes": json.dumps(list(names)).encode()}
    schema = PREDICTIONS_SCHEMA
    if kind != EXPRESSION:
        schema, metadata = TARGET_PREDICTIONS_SCHEMA, {**metadata, b"kind": kind.encode()}
    table = pa.concat_tables(tables).cast(schema.with_metadata(metadata))
    write_parquet(table, path, compression="zstd", row_group_size=65536)


def further_path(kind: str) -> Path:
    """Return the file with the predictions of a further task."""
    return FURTHER / f"{kind}.parquet"


def kind_of_predictions(path: Path = PREDICTIONS) -> str:
    """Return the task whose predictions a file holds.

    Raises:
        UserError: the file is absent.
    """
    if not path.is_file():
        raise UserError(f"{path} not found: run `dvc repro train` first")
    metadata = open_parquet(path).schema_arrow.metadata or {}
    return metadata.get(b"kind", EXPRESSION.encode()).decode()


def read_predictions(path: Path = PREDICTIONS) -> Predictions:
    """Read the table of expressions.

    Raises:
        UserError: the file is absent, or of another task.
    """
    if (kind := kind_of_predictions(path)) != EXPRESSION:
        raise UserError(
            f"{path} holds predictions of task.kind: {kind}; this needs those of expressions"
        )
    table = open_parquet(path).read()
    classes: list[str] = json.loads(table.schema.metadata[b"classes"])
    probabilities = _matrix(table, "probabilities", len(classes))
    return Predictions(
        classes=classes,
        **_head(table),
        label=table.column("label_index").to_numpy(),
        probabilities=probabilities,
    )


def read_any_predictions(path: Path = PREDICTIONS) -> Predictions | TargetPredictions:
    """Read the table of whichever task.

    Raises:
        UserError: the file is absent.
    """
    of_classes = kind_of_predictions(path) == EXPRESSION
    return read_predictions(path) if of_classes else read_target_predictions(path)


def read_target_predictions(path: Path = PREDICTIONS) -> TargetPredictions:
    """Read the table of a task with target values.

    Raises:
        UserError: the file is absent, or of expressions.
    """
    if (kind := kind_of_predictions(path)) == EXPRESSION:
        raise UserError(f"{path} holds predictions of expressions, not of target values")
    table = open_parquet(path).read()
    names: list[str] = json.loads(table.schema.metadata[b"classes"])
    return TargetPredictions(
        kind,
        names,
        **_head(table),
        target=_matrix(table, "targets", len(names)),
        values=_matrix(table, "values", len(names)),
    )


def _matrix(table: pa.Table, name: str, width: int) -> np.ndarray:
    """Return a column of lists as float64 [rows, width]; NaN where it is null."""
    column = table.column(name).combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    found = np.full((len(table), width), np.nan)
    found[known] = column.drop_null().flatten().to_numpy().reshape(-1, width)
    return found


def _head(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the columns that say what is predicted, and by which model."""

    def strings(name: str) -> np.ndarray:
        # a million frames repeat a few names: they are turned into Python strings once
        found = table.column(name).combine_chunks().dictionary_encode()
        names = np.array(found.dictionary.to_pylist(), dtype=object)
        taken: np.ndarray = names[found.indices.to_numpy()]
        return taken

    return {
        "clip_id": strings("clip_id"),
        "frame_index": table.column("frame_index").fill_null(-1).to_numpy().astype(np.int64),
        "model": strings("model"),
        "fold": table.column("fold").to_numpy(),
        "seed": table.column("seed").to_numpy(),
        "split": strings("split"),
    }
