"""Runs a stage's per-clip work: looks up, computes what is missing, assembles the out.

Every result goes into the store before it goes anywhere else, and the out is assembled
from the store in manifest order. So an interrupted run keeps what was finished, and the
out's bytes do not depend on what was computed now, before, or in which order.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.clips import Clip
from pipeline.cluster.run import Fleet, run_on_ray
from pipeline.config import EngineParams
from pipeline.disk import partial, replace_folder, writing_to
from pipeline.errors import UserError
from pipeline.progress import Tracker, track
from pipeline.shards import ShardWriter
from pipeline.store import Store
from pipeline.work import ClipJob, ClipWork, Item
from pipeline.workers import (
    NO_MEMORY,
    Crashed,
    Limits,
    TimedOut,
    WorkerError,
    cores,
    run_in_workers,
)


@dataclass(frozen=True)
class Summary:
    """How many clips were computed now, came from the store, or are quarantined."""

    done: int
    reused: int
    quarantined: int

    def __str__(self) -> str:
        return f"{self.done} computed, {self.reused} reused, {self.quarantined} quarantined"


def crew(engine: EngineParams) -> tuple[int, Limits]:
    """How many workers, and when one is ended."""
    count = cores() if engine.workers == "auto" else engine.workers
    return count, Limits(engine.clip_timeout_s, engine.worker_memory_mb)


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
        if self._missing:
            self._store.sweep(self._work.stage)
        self._compute([Item(clip, key) for key, clip in self._missing.items()])

    def assemble(self, out: Path) -> None:
        """Write the out beside its place, then put it there."""
        fresh = partial(out)
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            with (
                writing_to(out),
                ShardWriter(fresh, self._work.schema, self._work.facts()) as writer,
                track(len(self._clips), f"{self._work.stage}: write") as progress,
            ):
                for clip in self._clips:
                    self._add(writer, clip)
                    progress.advance()
            self._refuse_too_many_bad()
            with writing_to(out):
                replace_folder(fresh, out)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _add(self, writer: ShardWriter, clip: Clip) -> None:
        key = self._keys[clip.clip_id]
        if clip.clip_id not in self.bad:
            pieces = self._store.get_table(self._work.stage, key)
            if pieces is None:
                # its entry was damaged, or removed by another process
                self._compute([Item(clip, key)])
                pieces = self._store.get_table(self._work.stage, key)
            if pieces is not None:
                schema = self._work.schema
                named = (_named(piece, clip.clip_id, schema) for piece in pieces)
                writer.add(clip.clip_id, key, named)
                return
        writer.add_quarantined(clip.clip_id, key, self.bad[clip.clip_id])

    def _compute(self, items: list[Item]) -> None:
        with track(len(items), self._work.stage) as progress:
            try:
                for item, result in self._results(items, progress):
                    self._finished(item, result, progress)
            except WorkerError as error:
                name = error.item.clip.clip_id if error.item is not None else "(setup)"
                raise RuntimeError(f"clip {name}: {error}") from None

    def _results(
        self, items: list[Item], progress: Tracker
    ) -> Iterator[tuple[Item, str | Crashed | TimedOut | None]]:
        """As they are finished."""
        job = ClipJob(self._work, self._store.root)
        count, limits = crew(self._engine)
        if self._engine.name == "local":
            return run_in_workers(job, items, count, limits)
        workers = None if self._engine.workers == "auto" else self._engine.workers
        fleet = Fleet(self._engine.address, workers, self._engine.gpus_per_worker)
        return run_on_ray(job, items, fleet, limits, cores=count, note=progress.note)

    def _finished(
        self, item: Item, result: str | Crashed | TimedOut | None, progress: Tracker
    ) -> None:
        reason = None if result is None else str(result)
        names = self._same_key[item.key]
        if reason is None:
            self.done += len(names)
        else:
            self.bad.update(dict.fromkeys(names, reason))
            self._refuse_too_many_bad()
        if isinstance(result, Crashed | TimedOut):
            # not in the store, unlike a clip that is to blame itself
            stage, detail = self._work.stage, _detail(result)
            progress.note(
                f"{stage}: {item.clip.clip_id}: {reason}{detail}; "
                f"`dvc repro -f {stage}` tries it again"
            )
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


def _detail(result: Crashed | TimedOut) -> str:
    """For the person who watches; the out says the same on every machine."""
    match result:
        case TimedOut():
            return " (engine.clip_timeout_s)"
        case Crashed(code) if code == NO_MEMORY:
            return " twice (not enough memory)"
        case Crashed(code):
            return f" twice (exit code {code})"


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
