"""A stage's output: a few Parquet files with a clip's rows in a row of row groups, and an index.

Many small files are slow under DVC, and one file for everything cannot be read clip by
clip; so `part-00000.parquet`, `part-00001.parquet`, ... hold about 32 MB each (see
`pipeline.runner.assembly`) and `index.parquet` says where each clip lies, or why it is missing.
Equal tables added in equal order give equal bytes.

A row group is a piece of `PIECE_ROWS` rows, so that a clip of any length is written and
read within the memory of one piece. A clip lies in one file, whatever its length: an hour
of video makes one large file, and all later readers stay simple.

Long lists of numbers go into Parquet as bytes, and come back as lists.

Parquet keeps a level for every number of a list. A feature map of 512 x 7 x 7 costs 5 times
as much to read that way as its bytes do, and 4 times as much to write (lz4, ms per 100 MB:
229 and 526 as lists, 40 and 157 as bytes). The field's metadata say what the bytes are, for
other readers: `numbers: halffloat` is little-endian float16.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import (
    OK,
    QUARANTINED,
    read_json_metadata,
    table_of,
    with_json_metadata,
    write_table,
)
from arpgnet.pipeline.tables.parquet import open_parquet

# shorter lists cost little, and stay lists for whoever opens a shard with other tools
_LONG = 1024
_NUMBERS = b"numbers"


def packed_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with long lists as bytes."""
    return pa.schema([_packed_field(field) for field in schema])


def pack(table: pa.Table) -> pa.Table:
    """Return the table with long lists as bytes; each column in one chunk.

    Raises:
        ValueError: a long list is null, or holds a null.
    """
    columns = []
    for field, column in zip(table.schema, table.combine_chunks().columns, strict=True):
        if _is_long(field.type):
            columns.append(pa.chunked_array([_bytes(part) for part in column.chunks]))
        else:
            columns.append(column)
    return pa.table(columns, schema=packed_schema(table.schema))


def unpack(table: pa.Table) -> pa.Table:
    """Return the lists again; no number is copied."""
    for place, field in enumerate(table.schema):
        numbers = (field.metadata or {}).get(_NUMBERS)
        if numbers is not None:
            kind = pa.type_for_alias(numbers.decode())
            column = table.column(place)
            width = field.type.byte_width * 8 // kind.bit_width
            lists = pa.list_(kind, width)
            parts = [_lists(part, kind, width) for part in column.chunks]
            table = table.set_column(
                place, field.with_type(lists).remove_metadata(), pa.chunked_array(parts, lists)
            )
    return table


def _is_long(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) and kind.list_size >= _LONG


def _packed_field(field: pa.Field) -> pa.Field:
    if not _is_long(field.type):
        return field
    numbers = field.type.value_type
    as_bytes = pa.binary(field.type.list_size * numbers.bit_width // 8)
    return field.with_type(as_bytes).with_metadata({_NUMBERS: str(numbers).encode()})


def _bytes(lists: pa.FixedSizeListArray) -> pa.FixedSizeBinaryArray:
    if lists.null_count or lists.values.null_count:
        raise ValueError("a long list of numbers has no nulls")
    kind, numbers = _packed_field(pa.field("", lists.type)).type, lists.flatten()
    width = numbers.type.bit_width // 8
    start, length = numbers.offset * width, len(numbers) * width
    data = numbers.buffers()[1].slice(start, length)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(lists), [None, data])


def _lists(rows: pa.FixedSizeBinaryArray, kind: pa.DataType, width: int) -> pa.FixedSizeListArray:
    count = len(rows) * width
    data = rows.buffers()[1]
    numbers = pa.Array.from_buffers(kind, count, [None, data], offset=rows.offset * width)
    return pa.FixedSizeListArray.from_arrays(numbers, width)


INDEX = "index.parquet"
# 64 frames of 1080p as JPEG are about 20 MB, 64 feature maps of 512 x 7 x 7 in float16 3 MB
PIECE_ROWS = 64
# open shard files a reader holds
_OPEN_FILES = 8

INDEX_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("row_groups", pa.int32(), nullable=False),
        pa.field("rows", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class IndexRow:
    """Where a clip's rows lie: in `row_groups` row groups from `row_group` on.

    `shard` and `row_group` are -1 when it is quarantined.
    """

    clip_id: str
    key: str
    shard: int
    row_group: int
    row_groups: int
    rows: int
    status: str
    reason: str | None

    @property
    def ok(self) -> bool:
        return self.status == OK


class ShardFile:
    """Writes one file of an output, clip by clip in manifest order.

    Args:
        folder: the output, which must be there.
        number: of the file.
        schema: of the rows, `clip_id` among them.

    Attributes:
        rows: of the index, for the clips that were added.

    A file that was not closed cannot be read.
    """

    def __init__(self, folder: Path, number: int, schema: pa.Schema) -> None:
        self.rows: list[IndexRow] = []
        self._number = number
        self._schema = schema.remove_metadata()
        self._row_group = 0
        self._file = pa.OSFile(os.fsencode(folder / shard_name(number)), "wb")
        # a dictionary makes feature columns 2x slower to write and 5x to read
        self._writer = pq.ParquetWriter(
            self._file,
            packed_schema(self._schema),
            # ms per 100 MB to write and to read, and the part left, of MobileFaceNet's maps:
            # zstd 268, 119, 0.60; lz4 157, 40, 0.72; of crops: zstd 325, 135, 0.77; lz4 191,
            # 53, 0.87. When one clip is added, writing the others again is all that costs.
            compression="lz4",
            use_dictionary=False,
            write_statistics=False,
        )

    def add(self, clip_id: str, key: str, pieces: Iterable[pa.Table]) -> None:
        """Append a clip's rows, one row group per piece; see `well_cut`.

        Raises:
            ValueError: the clip is not well cut.
            KeyError: it lacks a column.
        """
        first, rows = self._row_group, 0
        for piece in well_cut(pieces):
            # one chunk a column, in the schema's order: the bytes depend on the values alone
            table = pack(piece.select(self._schema.names).cast(self._schema))
            self._writer.write_table(table, row_group_size=PIECE_ROWS)
            self._row_group += 1
            rows += table.num_rows
        groups = self._row_group - first
        self.rows.append(IndexRow(clip_id, key, self._number, first, groups, rows, OK, None))

    def tell(self) -> int:
        """Return bytes written so far."""
        return int(self._file.tell())

    def close(self) -> None:
        """End the file."""
        self._writer.close()
        self._file.close()


def quarantined(clip_id: str, key: str, reason: str) -> IndexRow:
    """Return the index row of a clip that has no rows."""
    return IndexRow(clip_id, key, -1, -1, 0, 0, QUARANTINED, reason)


def write_index(folder: Path, rows: Sequence[IndexRow], metadata: dict[str, Any]) -> None:
    """Make the folder an output, whose files are complete.

    Args:
        rows: of all clips, in manifest order.
        metadata: about the whole output, JSON-able.

    Raises:
        ValueError: a clip is there twice.
    """
    if len({row.clip_id for row in rows}) != len(rows):
        raise ValueError("a clip is in the output twice")
    schema = with_json_metadata(INDEX_SCHEMA, metadata)
    write_table(table_of([asdict(row) for row in rows], schema), folder / INDEX)


class ShardReader:
    """Reads an output clip by clip. Picklable: a copy opens the files anew.

    Raises:
        UserError: the folder is not a finished output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        advice = f"run `dvc repro` to make {self.folder}"
        try:
            table = open_parquet(self.folder / INDEX).read()
        except FileNotFoundError:
            raise UserError(f"{self.folder / INDEX} not found: {advice}") from None
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.folder / INDEX} is damaged ({error}): {advice}") from None
        self.metadata = read_json_metadata(table.schema)
        columns = [table.column(item.name).to_pylist() for item in fields(IndexRow)]
        self._rows = {row[0]: IndexRow(*row) for row in zip(*columns, strict=True)}
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()

    def __reduce__(self) -> tuple[type[ShardReader], tuple[Path]]:
        return ShardReader, (self.folder,)

    @property
    def clip_ids(self) -> list[str]:
        """All clips, quarantined ones too, in manifest order."""
        return list(self._rows)

    def entry(self, clip_id: str) -> IndexRow:
        """Return where a clip lies.

        Raises:
            UserError: the output does not know the clip; it is older than the manifest.
        """
        try:
            return self._rows[clip_id]
        except KeyError:
            raise UserError(f"{self.folder} has no clip {clip_id!r}: run `dvc repro`") from None

    def read(self, clip_id: str, columns: list[str] | None = None) -> pa.Table:
        """Return all of a clip's rows; of a long clip, choose small columns.

        Raises:
            UserError: the clip is unknown, or its file is absent or damaged.
            ValueError: the clip is quarantined and has no rows.
        """
        row = self._usable(clip_id)
        return self._row_groups(row, range(row.row_groups), columns)

    def pieces(self, clip_id: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield a clip's rows in order, `PIECE_ROWS` at a time; one piece is in memory.

        All outputs with a row per frame are cut alike: piece i of each has the same frames.

        Raises:
            UserError, ValueError: as `read`.
        """
        row = self._usable(clip_id)
        for group in range(row.row_groups):
            yield self._row_groups(row, [group], columns)

    def row(self, clip_id: str, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return one of a clip's rows, counted from 0, as a table; reads no more than its piece.

        Raises:
            UserError, ValueError: as `read`.
            IndexError: the clip has no such row.
        """
        row = self._usable(clip_id)
        if not 0 <= number < row.rows:
            raise IndexError(f"{clip_id} has {row.rows} rows, not a row {number}")
        group, offset = divmod(number, PIECE_ROWS)
        return self._row_groups(row, [group], columns).slice(offset, 1)

    def _usable(self, clip_id: str) -> IndexRow:
        row = self.entry(clip_id)
        if not row.ok:
            raise ValueError(f"{clip_id} is quarantined: {row.reason}")
        return row

    def _row_groups(
        self, row: IndexRow, groups: Iterable[int], columns: list[str] | None
    ) -> pa.Table:
        places = [row.row_group + group for group in groups]
        try:
            return unpack(self._open(row.shard).read_row_groups(places, columns=columns))
        except (pa.ArrowException, OSError) as error:
            name = self.folder / shard_name(row.shard)
            raise UserError(f"{name} is absent or damaged ({error}): run `dvc repro`") from None

    def close(self) -> None:
        """Let go of the open files; reading opens them again."""
        for file in self._files.values():
            file.close(force=True)
        self._files.clear()

    def _open(self, shard: int) -> pq.ParquetFile:
        if shard not in self._files:
            if len(self._files) == _OPEN_FILES:
                self._files.popitem(last=False)[1].close(force=True)
            self._files[shard] = open_parquet(self.folder / shard_name(shard))
        self._files.move_to_end(shard)
        return self._files[shard]


def shard_name(shard: int) -> str:
    """Return the file name of one shard."""
    return f"part-{shard:05d}.parquet"


def cut(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the pieces of a table that is small enough to be made at once."""
    for start in range(0, table.num_rows, PIECE_ROWS):
        yield table.slice(start, PIECE_ROWS)


def well_cut(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the pieces as they are, refused where bytes would depend on how they were cut.

    Raises:
        ValueError: there are no rows, or a piece does not have `PIECE_ROWS` rows (the last
            may have fewer, but at least one).
    """
    last = 0
    for number, piece in enumerate(pieces):
        if number and last != PIECE_ROWS:
            raise ValueError(f"a piece of {last} rows is not the last; it must have {PIECE_ROWS}")
        last = piece.num_rows
        if not 0 < last <= PIECE_ROWS:
            raise ValueError(f"a piece of {last} rows; it must have 1 to {PIECE_ROWS}")
        yield piece
    if not last:
        raise ValueError("no rows; quarantine the clip instead")


def fixed(array: np.ndarray, type: pa.DataType | None = None) -> pa.FixedSizeListArray:
    """Return a column of fixed-length lists from an array [n, ...]; the inner axes are flattened.

    Args:
        type: of the numbers, e.g. `pa.float16()`; the array's own when absent.
    """
    rows = np.ascontiguousarray(array)
    if rows.ndim < 2:
        raise ValueError(f"an array [n, ...] is needed, not {rows.shape}")
    width = int(np.prod(rows.shape[1:]))
    values = pa.array(rows.reshape(-1))
    if type is not None and values.type != type:
        values = values.cast(type)
    return pa.FixedSizeListArray.from_arrays(values, width)


def without_clip_id(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the rows that a stage yields; the engine writes the clip's name."""
    return schema.remove(schema.get_field_index("clip_id"))


def rows_of_valid(
    schema: pa.Schema,
    frame_index: pa.ChunkedArray,
    valid: np.ndarray,
    values: Mapping[str, np.ndarray],
) -> pa.Table:
    """Return a row per frame, its lists of numbers 0 where the frame is not valid.

    Args:
        schema: `clip_id`, which is left out; `frame_index`, `valid`, and fixed-length lists.
        frame_index: of all n frames.
        valid: bool [n].
        values: lists of the valid frames [k, ...] by column, cast to the column's type; a column
            that is absent is 0 everywhere.
    """
    schema = without_clip_id(schema)
    columns: dict[str, Any] = {"frame_index": frame_index, "valid": pa.array(valid)}
    for field in schema:
        if field.name in columns:
            continue
        kind, width = field.type.value_type.to_pandas_dtype(), field.type.list_size
        padded = np.zeros((len(valid), width), kind)
        if field.name in values:
            padded[valid] = values[field.name].reshape(-1, width)
        columns[field.name] = fixed(padded)
    return pa.table(columns, schema=schema)


def to_numpy(column: pa.ChunkedArray | pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column of fixed-length lists as an array [n, *shape].

    Raises:
        ValueError: a row is null, or the lists are of another length.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.null_count:
        raise ValueError("the column has null rows")
    values = array.flatten().to_numpy(zero_copy_only=False)
    width = int(np.prod(shape))
    if array.type.list_size != width:
        raise ValueError(f"lists of {array.type.list_size} numbers do not have shape {shape}")
    return values.reshape(len(array), *shape)
