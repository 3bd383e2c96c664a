"""Runs a stage's per-clip work: looks up, computes what is missing, assembles the out.

Every result goes into the store before it goes anywhere else, and the out is assembled
from the store in manifest order. So an interrupted run keeps what was finished, and the
out's bytes do not depend on what was computed now, before, or in which order.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.clips import Clip
from pipeline.config import EngineParams
from pipeline.errors import ClipError, UserError
from pipeline.progress import Tracker, track
from pipeline.shards import ShardWriter
from pipeline.store import Store, explained, replace_folder
from pipeline.workers import Crashed, WorkerError, run_in_workers

# starting a worker costs about 2 s of imports and model loading
WORKER_COST_S = 2.0
# workers are started once the work left is this many times their cost
_WORTH_IT = 3.0
CRASHED = "worker crashed"


class ClipWork(Protocol):
    """What a stage does to one clip: a picklable frozen dataclass.

    `key`, `facts` and `upstream_failure` are called in the parent process, without
    `setup`. The clip's name is not part of its content: `run` may leave the column
    `clip_id` out, and the engine writes it when it assembles the out, so that a clip
    that was renamed or stands in the manifest twice is computed once.

    A work that uses all cores or the GPU by itself sets a class attribute
    `max_workers = 1`; see `threads_per_clip`.
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

    def run(self, clip: Clip) -> pa.Table:
        """The clip's rows, at least one.

        Raises:
            ClipError: the clip is bad and is quarantined, for good.
        """


@dataclass(frozen=True)
class Summary:
    """How many clips were computed now, came from the store, or are quarantined."""

    done: int
    reused: int
    quarantined: int

    def __str__(self) -> str:
        return f"{self.done} computed, {self.reused} reused, {self.quarantined} quarantined"


def cores() -> int:
    """Cores this process may use: its affinity, and a container's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count or 1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup, or "max": no quota
    return max(1, count or 1)


def threads_per_clip(work: ClipWork) -> int:
    """How many threads the work's sessions may use; the same in the parent and in workers.

    Splitting a sum over threads changes its last bits, so the number must not depend on
    how many workers there are.
    """
    return cores() if getattr(work, "max_workers", None) == 1 else 1


def run_clips(
    work: ClipWork,
    clips: Sequence[Clip],
    out: Path,
    engine: EngineParams,
    *,
    store: Store | None = None,
) -> Summary:
    """Make the stage's out for all clips, computing only what the store lacks.

    Raises:
        UserError: more than `engine.max_bad` of the clips are quarantined, or all of them;
            the store cannot be written; the work raised one.
        RuntimeError: any other exception in the work, with the clip's id in front.
    """
    run = _Run(work, clips, engine, store or Store())
    run.look_up()
    run.compute()
    run.assemble(out)
    return Summary(run.done, len(clips) - run.done - len(run.bad), len(run.bad))


class _Run:
    """One stage's run over its clips."""

    def __init__(
        self, work: ClipWork, clips: Sequence[Clip], engine: EngineParams, store: Store
    ) -> None:
        self._work = work
        self._clips = clips
        self._engine = engine
        self._store = store
        self._keys: dict[str, str] = {}
        # one clip stands for all with the same key
        self._missing: dict[str, Clip] = {}
        self._same_key: dict[str, list[str]] = {}
        self.bad: dict[str, str] = {}
        self.done = 0

    def look_up(self) -> None:
        """Split the clips into bad ones, finished ones and missing ones."""
        stage = self._work.stage
        for clip in self._clips:
            upstream = self._work.upstream_failure(clip)
            if upstream is not None:
                self._keys[clip.clip_id] = ""
                self.bad[clip.clip_id] = upstream
                continue
            key = self._keys[clip.clip_id] = self._work.key(clip)
            self._same_key.setdefault(key, []).append(clip.clip_id)
            if self._store.has(stage, key):
                continue
            reason = self._store.get_failure(stage, key)
            if reason is None:
                self._missing.setdefault(key, clip)
            else:
                self.bad[clip.clip_id] = reason
        self._refuse_too_many_bad()

    def compute(self) -> None:
        """Fill the store."""
        items = [_Item(clip, key) for key, clip in self._missing.items()]
        with track(len(items), self._work.stage) as progress:
            left = self._in_process(items, progress)
            if left:
                self._in_workers(left, progress)

    def assemble(self, out: Path) -> None:
        """Write the out beside its place, then put it there."""
        fresh = out.with_name(out.name + ".partial")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            with (
                ShardWriter(fresh, self._work.schema, self._work.facts()) as writer,
                track(len(self._clips), f"{self._work.stage}: write") as progress,
            ):
                for clip in self._clips:
                    self._add(writer, clip)
                    progress.advance()
            self._refuse_too_many_bad()
            replace_folder(fresh, out)
        except OSError as error:
            raise explained(error, out, "free some space, or mend the folder") from None
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _add(self, writer: ShardWriter, clip: Clip) -> None:
        key = self._keys[clip.clip_id]
        if clip.clip_id not in self.bad:
            table = self._store.get_table(self._work.stage, key)
            if table is None:
                # its entry was damaged, or removed by another process
                self._in_process([_Item(clip, key)], None)
                table = self._store.get_table(self._work.stage, key)
            if table is not None:
                writer.add(clip.clip_id, key, _named(table, clip.clip_id, self._work.schema))
                return
        writer.add_quarantined(clip.clip_id, key, self.bad[clip.clip_id])

    def _workers(self) -> int:
        wanted = cores() if self._engine.workers == "auto" else self._engine.workers
        limit: int | None = getattr(self._work, "max_workers", None)
        return wanted if limit is None else min(wanted, limit)

    def _in_process(self, items: list[_Item], progress: Tracker | None) -> list[_Item]:
        """Compute here, as long as starting workers does not pay; what is left for them."""
        if not items:
            return []
        job = _ClipJob(self._work, self._store.root)
        spread = self._workers() > 1 and progress is not None
        with _one_thread():
            job.start()
            began = time.monotonic()
            for count, item in enumerate(items):
                spent = time.monotonic() - began
                rest = spent / count * (len(items) - count) if count else 0.0
                if spread and rest > _WORTH_IT * WORKER_COST_S:
                    return items[count:]
                try:
                    reason = job.do(item)
                except (UserError, KeyboardInterrupt):
                    raise
                except Exception as error:
                    raise RuntimeError(f"clip {item.clip.clip_id}: {error!r}") from error
                self._finished(item, reason, progress)
        return []

    def _in_workers(self, items: list[_Item], progress: Tracker) -> None:
        job = _ClipJob(self._work, self._store.root)
        try:
            for item, result in run_in_workers(job, items, self._workers()):
                if isinstance(result, Crashed):
                    # not kept in the store: the next run tries again
                    progress.note(
                        f"{self._work.stage}: {item.clip.clip_id}: a worker died on this clip "
                        f"twice (exit code {result.exit_code})"
                    )
                    self._finished(item, CRASHED, progress)
                else:
                    self._finished(item, result, progress)
        except WorkerError as error:
            name = error.item.clip.clip_id if error.item is not None else "(setup)"
            raise RuntimeError(f"clip {name}: {error}") from None

    def _finished(self, item: _Item, reason: str | None, progress: Tracker | None) -> None:
        names = self._same_key[item.key]
        if reason is None:
            self.done += len(names)
        else:
            self.bad.update(dict.fromkeys(names, reason))
            self._refuse_too_many_bad()
        if progress is not None:
            progress.advance()

    def _refuse_too_many_bad(self) -> None:
        """As soon as it is certain, not hours later."""
        bad, total = len(self.bad), len(self._clips)
        if not bad or (bad < total and bad <= self._engine.max_bad * total):
            return
        reasons = Counter(self.bad.values()).most_common(3)
        named = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        remedy = (
            "nothing is left to work with: mend the clips or the settings"
            if bad == total
            else f"mend them or raise engine.max_bad (now {self._engine.max_bad:g})"
        )
        raise UserError(
            f"{self._work.stage}: {bad} of {total} clips are unusable: {named}; {remedy}"
        )


@dataclass(frozen=True)
class _Item:
    clip: Clip
    key: str


@dataclass(frozen=True)
class _ClipJob:
    """Computes an item into the store; the answer is None or why the clip is bad."""

    work: ClipWork
    root: Path

    def start(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.work.setup()

    def do(self, item: _Item) -> str | None:
        store = Store(self.root)
        try:
            table = self.work.run(item.clip)
        except ClipError as error:
            store.put_failure(self.work.stage, item.key, error.reason)
            return error.reason
        if not table.num_rows:
            raise ValueError(f"{self.work.stage} gave no rows")
        if "clip_id" in table.column_names:
            table = table.drop_columns(["clip_id"])
        store.put_table(self.work.stage, item.key, table.replace_schema_metadata())
        return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV back to its own number of threads afterwards."""
    import cv2

    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _named(table: pa.Table, clip_id: str, schema: pa.Schema) -> pa.Table:
    """The table with its `clip_id` column, where the schema has one."""
    place = schema.get_field_index("clip_id")
    if place < 0:
        return table
    # from buffers: `pa.repeat` would import pandas, for a second
    name, rows = clip_id.encode(), table.num_rows
    offsets = np.arange(rows + 1, dtype=np.int32) * len(name)
    names = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(name * rows))
    return table.add_column(place, schema.field(place), names)
