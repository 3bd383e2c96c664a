"""`data/targets.parquet`: values that clips and frames are annotated with, beside their class.

A column is an action unit's occurrence (`au_12`: 0 or 1) or intensity (`au_12_intensity`: 0 to 5),
`valence` or `arousal` (-1 to 1). NaN is a value that is not annotated; it is masked everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import read_json_metadata, with_json_metadata, write_table
from arpgnet.pipeline.tables.parquet import open_parquet

TARGETS = Path("data/targets.parquet")
TARGETS_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        # null: of the whole clip
        pa.field("frame_index", pa.int32()),
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class TargetTable:
    """R rows: clip (str [R]), frame (int64 [R], -1: the clip) and values (float32 [R, A])."""

    names: list[str]
    clip_id: np.ndarray
    frame_index: np.ndarray
    values: np.ndarray

    def matching(self, pattern: str) -> list[str]:
        """Return the names that match a regular expression as a whole."""
        return [name for name in self.names if re.fullmatch(pattern, name)]

    def columns(self, names: Sequence[str]) -> TargetTable:
        """Return some columns, of the rows that have a value in any."""
        values = self.values[:, [self.names.index(name) for name in names]]
        chosen = replace(self, names=list(names), values=values)
        return chosen.select(~np.isnan(values).all(axis=1))

    def select(self, rows: np.ndarray) -> TargetTable:
        """Return the rows where the boolean array is true."""
        return TargetTable(
            self.names, self.clip_id[rows], self.frame_index[rows], self.values[rows]
        )


def empty_targets() -> TargetTable:
    """Return the table of a data set without targets."""
    return TargetTable([], np.zeros(0, object), np.zeros(0, np.int64), np.zeros((0, 0), np.float32))


def write_targets(table: TargetTable, path: Path = TARGETS) -> None:
    """Write the table; equal rows give equal bytes."""
    rows, width = table.values.shape
    ends = np.arange(rows + 1, dtype=np.int32) * width
    values = pa.ListArray.from_arrays(pa.array(ends), pa.array(table.values.ravel()))
    index = table.frame_index.astype(np.int32)
    columns = [
        pa.array(table.clip_id, pa.string()),
        pa.array(index, mask=index < 0),
        values,
    ]
    schema = with_json_metadata(TARGETS_SCHEMA, {"names": table.names})
    write_table(pa.Table.from_arrays(columns, schema=schema), path)


def read_targets(path: Path = TARGETS) -> TargetTable:
    """Read what `write_targets` has written.

    Raises:
        UserError: the file is absent.
    """
    if not path.is_file():
        raise UserError(f"{path} not found: run `dvc repro ingest` first")
    table = open_parquet(path).read()
    names: list[str] = read_json_metadata(table.schema)["names"]
    clip = table.column("clip_id").combine_chunks().dictionary_encode()
    known = np.array(clip.dictionary.to_pylist(), dtype=object)
    flat = table.column("values").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return TargetTable(
        names,
        known[clip.indices.to_numpy()] if len(table) else np.zeros(0, object),
        table.column("frame_index").fill_null(-1).to_numpy().astype(np.int64),
        flat.reshape(len(table), len(names)).astype(np.float32),
    )
