"""A stage's output from the store: which clips lie in which file, and who writes the files.

The files do not depend on each other, so all workers write at once. Which clips lie in which
file follows from the bytes of their entries, and not from who computed them, when, or with
how many others.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import partial, writing_to
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.common.progress import Tracker, track
from arpgnet.pipeline.runner.dispatch import dispatch
from arpgnet.pipeline.runner.workers import Crashed, Limits, WorkerError
from arpgnet.pipeline.store import Place, Store
from arpgnet.pipeline.tables.shards import IndexRow, ShardFile, shard_name

# few files under DVC, each of them rewritten and fetched quickly
TARGET_BYTES = 32 << 20
# fewer files are written by one process (0.15 s each) before two others have started (0.5 s)
FEW = 8
# fewer are written by this machine's workers before a cluster's have started (5 s)
MANY = 64

_SHARED = "the project must lie on a file system that all machines of the cluster share"


@dataclass(frozen=True)
class Member:
    """A clip of an output: its name, its key, and the bytes of its entry in the store."""

    clip_id: str
    key: str
    size: int


@dataclass(frozen=True)
class Part:
    """A file of an output, and the clips that lie in it."""

    number: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Written:
    """A part that is complete: its rows of the index, and the bytes of the file."""

    rows: tuple[IndexRow, ...]
    size: int


@dataclass(frozen=True)
class Lost:
    """A part that cannot be written: the store has no intact entry of these clips."""

    members: tuple[Member, ...]


def cut_into_parts(members: Iterable[Member], target: int | None = None) -> list[Part]:
    """Divide an output into files: each ends with the clip that reaches `target` bytes.

    Args:
        members: in manifest order.
        target: `TARGET_BYTES` when absent.
    """
    target = TARGET_BYTES if target is None else target
    parts: list[Part] = []
    pending: list[Member] = []
    size = 0
    for member in members:
        pending.append(member)
        size += member.size
        if size >= target:
            parts.append(Part(len(parts), tuple(pending)))
            pending, size = [], 0
    return [*parts, Part(len(parts), tuple(pending))] if pending else parts


@dataclass(frozen=True)
class PartJob:
    """Writes parts into the output that is being made; see `pipeline.runner.workers.Job`.

    Attributes:
        root: of the store.
        output: what is made, beside its place.
    """

    stage: str
    schema: pa.Schema
    root: Place
    output: Path

    def start(self) -> None:
        """Do nothing: there is nothing to open."""

    def do(self, part: Part) -> Written | Lost:
        """Write the file of one part, which is there already; see `write_parts`.

        Raises:
            UserError: it cannot be written, or this machine has another `data/`.
        """
        path = self.path(part)
        if not path.exists():
            raise UserError(f"{path} is not there on machine {socket.gethostname()}: {_SHARED}")
        store, lost = Store(self.root), []
        with (
            writing_to(self.output),
            contextlib.closing(ShardFile(path.parent, part.number, self.schema)) as file,
        ):
            for member in part.members:
                pieces = store.get_table(self.stage, member.key)
                if pieces is None:
                    lost.append(member)
                elif not lost:
                    named = (_named(piece, member.clip_id, self.schema) for piece in pieces)
                    file.add(member.clip_id, member.key, named)
        return Lost(tuple(lost)) if lost else Written(tuple(file.rows), path.stat().st_size)

    def path(self, part: Part) -> Path:
        """Return where it is written."""
        return partial(self.output) / shard_name(part.number)


def write_parts(
    job: PartJob, parts: Sequence[Part], engine: EngineParams
) -> Iterator[tuple[Part, Written | Lost]]:
    """Write the files, by workers where that is faster; yield them as they are finished.

    Raises:
        UserError: one cannot be written.
    """
    with writing_to(job.output):
        for part in parts:
            # here first: NFS may go on showing a folder without what others have made in it
            job.path(part).touch()
    count = sum(len(part.members) for part in parts)
    with (
        track(count, f"{job.stage}: write", "clips") as progress,
        contextlib.closing(_results(job, parts, engine, progress)) as results,
    ):
        for part, result in results:
            if isinstance(result, Written):
                _check_arrival(job.path(part), result.size)
            progress.advance(len(part.members))
            yield part, result


def _results(
    job: PartJob, parts: Sequence[Part], engine: EngineParams, progress: Tracker
) -> Generator[tuple[Part, Written | Lost], None, None]:
    if len(parts) < FEW:
        for part in parts:
            yield part, job.do(part)
        return
    changes: dict[str, Any] = {"gpus_per_worker": 0.0}
    if not engine.address or len(parts) < MANY:
        changes["name"] = "local"
    results = dispatch(
        job, parts, engine.model_copy(update=changes), note=progress.note, limits=Limits()
    )
    with contextlib.closing(results):
        try:
            for part, result in results:
                if isinstance(result, Crashed):
                    raise UserError(
                        f"{job.output}: {shard_name(part.number)} cannot be written "
                        f"({result} again and again, exit code {result.exit_code}): not enough "
                        "memory? set engine.workers: 1"
                    )
                yield part, result
        except WorkerError as error:
            raise RuntimeError(f"{job.output}: {error}") from None


def _check_arrival(path: Path, size: int) -> None:
    """Check that the file that a worker wrote, maybe on another machine, has arrived here."""
    # opened: NFS then asks for the file's true length
    with path.open("rb") as file:
        here = os.fstat(file.fileno()).st_size
    if here != size:
        raise UserError(f"{path}: a worker wrote {size} bytes of it, {here} are here: {_SHARED}")


def _named(table: pa.Table, clip_id: str, schema: pa.Schema) -> pa.Table:
    """Add the `clip_id` column, where the schema has one."""
    place = schema.get_field_index("clip_id")
    if place < 0:
        return table
    # from buffers: `pa.repeat` would import pandas, for a second
    name, rows = clip_id.encode(), table.num_rows
    offsets = np.arange(rows + 1, dtype=np.int32) * len(name)
    names = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(name * rows))
    return table.add_column(place, schema.field(place), names)
