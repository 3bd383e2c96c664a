"""What a stage does to one clip, and how a worker process does it into the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pipeline.clips import Clip
from pipeline.errors import ClipError
from pipeline.shards import well_cut
from pipeline.store import Place, Store


class ClipWork(Protocol):
    """A stage's work: a picklable frozen dataclass.

    `key`, `facts` and `upstream_failure` are called in the parent process, without
    `setup`; `setup` and `run` in a worker. The parent has nothing to decode or infer with:
    heavy libraries are imported where they are used. The clip's name is not part of its
    content: `run` may leave the column `clip_id` out, and the engine writes it when it
    assembles the out, so that a clip that was renamed or stands in the manifest twice is
    computed once.

    A work uses one thread, of which there is one a core, in as many processes: a sum that
    is split over threads would have other last bits for another number of them.
    """

    @property
    def stage(self) -> str:
        """The store's room: "decode", "align", ..."""

    @property
    def schema(self) -> pa.Schema:
        """Of the out's rows, `clip_id` among them."""

    def key(self, clip: Clip) -> str:
        """A digest of everything the result depends on."""

    def facts(self) -> dict[str, Any]:
        """About the whole out, JSON-able; for the index."""

    def upstream_failure(self, clip: Clip) -> str | None:
        """Why an earlier stage has nothing for this clip."""

    def setup(self) -> None:
        """Open models and readers; called once a process."""

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """The clip's rows in pieces of `PIECE_ROWS` rows, the last one shorter; at least one.

        A piece is let go before the next is asked for: of an hour of video, hold little
        more than one.

        Raises:
            ClipError: the clip is bad and is quarantined, for good.
        """


@dataclass(frozen=True)
class Item:
    """A clip and the key that its result is kept under."""

    clip: Clip
    key: str


@dataclass(frozen=True)
class ClipJob:
    """Computes an item into the store; see `pipeline.workers.Job`."""

    work: ClipWork
    root: Place

    def start(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.work.setup()

    def do(self, item: Item) -> int | str:
        """The bytes of its entry, or why the clip is bad, which is remembered."""
        store = Store(self.root)
        pieces = well_cut(self.work.run(item.clip))
        try:
            return store.put_table(self.work.stage, item.key, map(_nameless, pieces))
        except ClipError as error:
            store.put_failure(self.work.stage, item.key, error.reason)
            return error.reason


def _nameless(table: pa.Table) -> pa.Table:
    """The rows alone, as they are kept: without the clip's name."""
    if "clip_id" in table.column_names:
        table = table.drop_columns(["clip_id"])
    return table.replace_schema_metadata()
