"""Runs a stage's per-clip work: looks up, computes what is missing, assembles the output.

Every result goes into the store before it goes anywhere else, and the output is assembled
from the store in manifest order. So an interrupted run keeps what was finished, and the
out's bytes do not depend on what was computed now, before, or in which order.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import partial, replace_folder, writing_to
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.common.progress import Tracker, track
from arpgnet.pipeline.runner.assembly import (
    Member,
    Part,
    PartJob,
    Written,
    cut_into_parts,
    write_parts,
)
from arpgnet.pipeline.runner.dispatch import dispatch
from arpgnet.pipeline.runner.work import ClipJob, ClipWork, Item
from arpgnet.pipeline.runner.workers import NO_MEMORY, Crashed, TimedOut, WorkerError
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import IndexRow, quarantined, write_index


@dataclass(frozen=True)
class Summary:
    """How many clips were computed now, came from the store, or are quarantined."""

    done: int
    reused: int
    quarantined: int

    def __str__(self) -> str:
        return f"{self.done} computed, {self.reused} reused, {self.quarantined} quarantined"


def run_clips(
    work: ClipWork,
    clips: Sequence[Clip],
    output: Path,
    engine: EngineParams,
    *,
    store: Store | None = None,
) -> Summary:
    """Make the stage's output for all clips, computing only what the store lacks.

    Raises:
        UserError: more than `engine.max_bad` of the clips are quarantined, or all of them;
            the store cannot be written; the work raised one.
        RuntimeError: any other exception in the work, with the clip's id in front.
    """
    run = _Run(work, clips, engine, store or Store())
    run.look_up()
    run.compute()
    run.assemble(output)
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
        # bytes of the entries
        self._sizes: dict[str, int] = {}
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
            size = self._store.size(stage, key)
            if size is not None:
                self._sizes[key] = size
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

    def assemble(self, output: Path) -> None:
        """Write the output beside its place, then put it there."""
        fresh = partial(output)
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            with writing_to(output):
                fresh.mkdir(parents=True)
            written = self._write(output)
            self._refuse_too_many_bad()
            index = [written.get(clip.clip_id) or self._quarantined(clip) for clip in self._clips]
            with writing_to(output):
                write_index(fresh, index, self._work.metadata())
                replace_folder(fresh, output)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _write(self, output: Path) -> dict[str, IndexRow]:
        """Write the files, again where entries turn out to be lost; return the clips' rows."""
        job = PartJob(self._work.stage, self._work.schema, self._store.root, output)
        written: dict[Part, Written] = {}
        again: set[str] = set()
        while True:
            parts = cut_into_parts(self._members())
            lost: set[str] = set()
            missing = [part for part in parts if part not in written]
            for part, result in write_parts(job, missing, self._engine):
                if isinstance(result, Written):
                    written[part] = result
                else:
                    lost |= {member.key for member in result.members}
            if not lost:
                break
            if lost & again:
                raise UserError(
                    f"{job.stage}: the store {job.root} lost entries that were just written, "
                    "twice: `arpgnet store verify` reads all of it"
                )
            again |= lost
            self._compute_again(lost)
        # with a clip that has turned bad there may be a file less
        for path in set(partial(output).iterdir()) - set(map(job.path, parts)):
            path.unlink()
        return {row.clip_id: row for part in parts for row in written[part].rows}

    def _members(self) -> list[Member]:
        """Return the usable clips."""
        usable = (clip.clip_id for clip in self._clips if clip.clip_id not in self.bad)
        keys = ((name, self._keys[name]) for name in usable)
        return [Member(name, key, self._sizes[key]) for name, key in keys]

    def _quarantined(self, clip: Clip) -> IndexRow:
        name = clip.clip_id
        return quarantined(name, self._keys[name], self.bad[name])

    def _compute_again(self, keys: set[str]) -> None:
        """Compute clips again whose entry was damaged, or removed by another process."""
        for key in keys:
            self._store.remove(self._work.stage, key, "table")
        by_key = {self._keys[clip.clip_id]: clip for clip in self._clips}
        self._compute([Item(by_key[key], key) for key in sorted(keys)])

    def _compute(self, items: list[Item]) -> None:
        job = ClipJob(self._work, self._store.root)
        with track(len(items), self._work.stage, "clips") as progress:
            try:
                for item, result in dispatch(job, items, self._engine, note=progress.note):
                    self._finished(item, result, progress)
            except WorkerError as error:
                name = error.item.clip.clip_id if error.item is not None else "(setup)"
                raise RuntimeError(f"clip {name}: {error}") from None

    def _finished(
        self, item: Item, result: int | str | Crashed | TimedOut, progress: Tracker
    ) -> None:
        names = self._same_key[item.key]
        if isinstance(result, int):
            self._sizes[item.key] = result
            self.done += len(names)
        else:
            self.bad.update(dict.fromkeys(names, str(result)))
            self._refuse_too_many_bad()
        if isinstance(result, Crashed | TimedOut):
            # not in the store, unlike a clip that is to blame itself
            stage, detail = self._work.stage, _detail(result)
            progress.note(
                f"{stage}: {item.clip.clip_id}: {result}{detail}; "
                f"`dvc repro -f {stage}` tries it again"
            )
        progress.advance()

    def _refuse_too_many_bad(self) -> None:
        """Raise UserError as soon as too many clips are certain to be bad."""
        bad, total = len(self.bad), len(self._clips)
        if not bad or (bad < total and bad <= self._engine.max_bad * total):
            return
        reasons = Counter(self.bad.values()).most_common(3)
        named = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        remedy = (
            "nothing is left to work with: fix the clips or the settings"
            if bad == total
            else f"fix them or raise engine.max_bad (now {self._engine.max_bad:g})"
        )
        raise UserError(
            f"{self._work.stage}: {bad} of {total} clips are unusable: {named}; {remedy}"
        )


def _detail(result: Crashed | TimedOut) -> str:
    """Return details for the console; the output has the same text on every machine."""
    match result:
        case TimedOut():
            return " (engine.clip_timeout_s)"
        case Crashed(code) if code == NO_MEMORY:
            return " twice (not enough memory)"
        case Crashed(code):
            return f" twice (exit code {code})"
