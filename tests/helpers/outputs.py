"""An output as a stage would leave it, for tests of what reads it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from arpgnet.pipeline.runner.assembly import TARGET_BYTES
from arpgnet.pipeline.tables.shards import IndexRow, ShardFile, quarantined, write_index


class OutputWriter:
    """Clip by clip in manifest order; a file ends with the clip that reaches `target_bytes`.

    Without `close`, which the end of a `with` calls, there is no index.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        metadata: dict[str, Any],
        target_bytes: int = TARGET_BYTES,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._schema, self._metadata = folder, schema, metadata
        self._target = target_bytes
        self._rows: list[IndexRow] = []
        self._files = 0
        self._file: ShardFile | None = None

    def __enter__(self) -> "OutputWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end_file()

    def add(self, clip_id: str, key: str, pieces: Iterable[pa.Table]) -> None:
        if self._file is None:
            self._file = ShardFile(self._folder, self._files, self._schema)
            self._files += 1
        self._file.add(clip_id, key, pieces)
        self._rows.append(self._file.rows[-1])
        if self._file.tell() >= self._target:
            self._end_file()

    def add_quarantined(self, clip_id: str, key: str, reason: str) -> None:
        self._rows.append(quarantined(clip_id, key, reason))

    def close(self) -> None:
        self._end_file()
        write_index(self._folder, self._rows, self._metadata)

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
