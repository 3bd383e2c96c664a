"""Long lists of numbers go into Parquet as bytes, and come back as lists.

Parquet keeps a level for every number of a list. A feature map of 512 x 7 x 7 costs 5 times
as much to read that way as its bytes do, and 4 times as much to write (lz4, ms per 100 MB:
229 and 526 as lists, 40 and 157 as bytes). The field's metadata say what the bytes are, for
other readers: `numbers: halffloat` is little-endian float16.
"""

from __future__ import annotations

import pyarrow as pa

# shorter lists cost little, and stay lists for whoever opens a shard with other tools
_LONG = 1024
_NUMBERS = b"numbers"


def packed_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with long lists as bytes."""
    return pa.schema([_packed_field(field) for field in schema])


def pack(table: pa.Table) -> pa.Table:
    """The table with long lists as bytes; each column in one chunk.

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
    """The lists again; no number is copied."""
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
