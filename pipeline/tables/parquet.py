"""Parquet files by their names.

pyarrow takes a relative path with a colon for an address, even one that exists, and refuses names
that are not UTF-8; so it gets an open file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.files import replacing


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file; `close(force=True)` closes it.

    Raises:
        OSError, pyarrow.ArrowException: it is absent, or damaged.
    """
    return pq.ParquetFile(pa.OSFile(os.fsencode(path)))


def write_parquet(table: pa.Table, path: Path, **options: Any) -> None:
    """Write a table with the options of `pyarrow.parquet.write_table`, making the folder.

    Raises:
        UserError: see `pipeline.common.files.replacing`.
    """
    with replacing(path) as fresh, pa.OSFile(os.fsencode(fresh), "wb") as file:
        pq.write_table(table, file, **options)
