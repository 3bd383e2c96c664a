"""What a stage does to one clip, and how a worker process does it into the store."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import pyarrow as pa

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.runner.threads import use_one_thread
from arpgnet.pipeline.store import Place, Store, code_version, digest
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, well_cut


class ClipWork(Protocol):
    """A stage's work: a picklable frozen dataclass.

    `key`, `metadata` and `upstream_failure` are called in the parent process, without
    `setup`; `setup` and `run` in a worker. The parent has nothing to decode or infer with:
    heavy libraries are imported where they are used. The clip's name is not part of its
    content: `run` may leave the column `clip_id` out, and the engine writes it when it
    assembles the output, so that a clip that was renamed or stands in the manifest twice is
    computed once.

    A work uses one thread, of which there is one per core, in as many processes; see
    `pipeline.runner.threads`.
    """

    @property
    def stage(self) -> str:
        """The store's namespace: "decode", "align", ..."""

    @property
    def schema(self) -> pa.Schema:
        """Of the output's rows, `clip_id` among them."""

    def key(self, clip: Clip) -> str:
        """Return a digest of everything the result depends on."""

    def metadata(self) -> dict[str, Any]:
        """Return metadata of the whole output, JSON-able; for the index."""

    def upstream_failure(self, clip: Clip) -> str | None:
        """Return why an earlier stage has nothing for this clip."""

    def setup(self) -> None:
        """Open models and readers; called once per process."""

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """Yield the clip's rows in pieces of `PIECE_ROWS` rows, the last one shorter; at least one.

        A piece is let go before the next is asked for: of an hour of video, keep little
        more than one in memory.

        Raises:
            ClipError: the clip is bad and is quarantined, for good.
        """


class PickledByFields:
    """Base of frozen dataclasses whose cached properties open readers and networks.

    What was opened stays behind when the object is pickled for a worker process.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]


class ClipWorkBase(PickledByFields, abc.ABC):
    """Base of works: the code that a work reaches is a part of every key."""

    @property
    def code(self) -> str:
        """Digest of the code that the work reaches, and of the libraries that this imports."""
        return code_version(type(self).__module__)

    @abc.abstractmethod
    def inputs(self, clip: Clip) -> list[Any]:
        """List what the clip's result depends on, except code; see `digest` for the types."""

    def key(self, clip: Clip) -> str:
        """See `ClipWork`."""
        return digest(self.code, self.inputs(clip))


def upstream_reason(clip_id: str, *readers: ShardReader) -> str | None:
    """Return why one of the earlier stages has nothing for the clip, if so."""
    entries = (reader.entry(clip_id) for reader in readers)
    return next((entry.reason or entry.status for entry in entries if not entry.ok), None)


@dataclass(frozen=True)
class Item:
    """A clip and the key that its result is stored under."""

    clip: Clip
    key: str


@dataclass(frozen=True)
class ClipJob:
    """Computes an item into the store; see `pipeline.runner.workers.Job`."""

    work: ClipWork
    root: Place

    def start(self) -> None:
        use_one_thread()
        self.work.setup()

    def do(self, item: Item) -> int | str:
        """Return the bytes of its entry, or why the clip is bad, which is remembered."""
        store = Store(self.root)
        # a machine that was killed after it wrote the entry, or another run, may have been first
        finished = store.size(self.work.stage, item.key)
        if finished is not None:
            return finished
        pieces = well_cut(self.work.run(item.clip))
        try:
            return store.put_table(self.work.stage, item.key, map(_nameless, pieces))
        except ClipError as error:
            store.put_failure(self.work.stage, item.key, error.reason)
            return error.reason


def _nameless(table: pa.Table) -> pa.Table:
    """Return the rows as they are stored: without the clip's name."""
    if "clip_id" in table.column_names:
        table = table.drop_columns(["clip_id"])
    return table.replace_schema_metadata()
