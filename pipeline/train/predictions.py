"""`artifacts/predictions.parquet`: what each model thinks of each clip it did not train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError

PREDICTIONS = Path("artifacts/predictions.parquet")
NETWORK = "arpgnet"

PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("fold", pa.int32(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label_index", pa.int32(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Predictions:
    """All rows of the table as arrays of the same length (rows), in file order.

    `probabilities` is float64 `[rows, classes]`, NaN where a clip has no prediction;
    `predicted` is the most probable class, -1 where there is none. `frame_index` is int64, -1
    where a row is about the whole clip.
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

    def select(self, rows: np.ndarray) -> Predictions:
        """The rows where the boolean array is true."""
        parts = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "classes"}
        return Predictions(self.classes, **parts)


def prediction_rows(
    clip_ids: Sequence[str],
    labels: Sequence[int],
    probabilities: np.ndarray | None,
    *,
    model: str,
    fold: int,
    seed: int,
    split: str,
) -> pa.Table:
    """A table of one model's predictions of one split; without probabilities, of none."""
    count = len(clip_ids)
    if probabilities is None:
        values = pa.nulls(count, pa.list_(pa.float32()))
    else:
        assert len(probabilities) == count
        values = pa.array([row.astype(np.float32) for row in probabilities], pa.list_(pa.float32()))
    columns = [
        pa.array(clip_ids, pa.string()),
        pa.nulls(count, pa.int32()),
        pa.array([model] * count, pa.string()),
        pa.array([fold] * count, pa.int32()),
        pa.array([seed] * count, pa.int32()),
        pa.array([split] * count, pa.string()),
        pa.array(labels, pa.int32()),
        values,
    ]
    return pa.Table.from_arrays(columns, schema=PREDICTIONS_SCHEMA)


def write_predictions(tables: Sequence[pa.Table], classes: Sequence[str], path: Path) -> None:
    """Write all rows to `path`; the class names go into the schema's metadata."""
    schema = PREDICTIONS_SCHEMA.with_metadata({b"classes": json.dumps(list(classes)).encode()})
    table = pa.concat_tables(tables).cast(schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", row_group_size=65536)


def read_predictions(path: Path = PREDICTIONS) -> Predictions:
    """Read the table.

    Raises:
        UserError: the file is absent.
    """
    if not path.is_file():
        raise UserError(f"{path} not found: run `dvc repro train` first")
    table = pq.read_table(path)
    classes: list[str] = json.loads(table.schema.metadata[b"classes"])
    column = table.column("probabilities").combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    probabilities = np.full((len(table), len(classes)), np.nan)
    values = column.drop_null().flatten().to_numpy()
    probabilities[known] = values.reshape(-1, len(classes))

    def strings(name: str) -> np.ndarray:
        return np.array(table.column(name).to_pylist(), dtype=object)

    return Predictions(
        classes=classes,
        clip_id=strings("clip_id"),
        frame_index=table.column("frame_index").fill_null(-1).to_numpy().astype(np.int64),
        model=strings("model"),
        fold=table.column("fold").to_numpy(),
        seed=table.column("seed").to_numpy(),
        split=strings("split"),
        label=table.column("label_index").to_numpy(),
        probabilities=probabilities,
    )
