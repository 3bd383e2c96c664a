"""A cache of file metadata and fingerprints, and near-duplicates found with it.

What is known of each file: digest, format, fingerprint; looked up by path, length and time.

The cache is one SQLite file in the store. A file whose absolute path, length and
modification time are as before is not opened again, nor a folder of images of which that
holds for every one; a changed version of the code or of PyAV makes all entries void.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.common.wording import stored
from arpgnet.pipeline.datasets import fingerprint
from arpgnet.pipeline.datasets.fingerprint import ClipStart, find_near_duplicates
from arpgnet.pipeline.datasets.media import (
    NOT_FOUND,
    FileMetadata,
    Media,
    Seen,
    examine,
    file_state,
    state,
    whole_thumbnails,
)
from arpgnet.pipeline.runner.workers import Crashed, Limits, TimedOut, run_in_workers
from arpgnet.pipeline.store import code_version, digest, file_sha256, store_root

# an interrupted first run keeps what it has found
_BATCH = 64
_FILES_AT_ONCE = 1024

# folders are looked through by workers where there are more than this; they take 0.5 s to start
_FEW_FOLDERS = 100
_FEW_CLIPS = 16


def metadata_version() -> str:
    """Return a version that changes whenever the same bytes may get other metadata."""
    return code_version("arpgnet.pipeline.datasets.media")


class FileCache:
    """Metadata and fingerprints by (absolute path, length, modification time).

    Args:
        path: the SQLite file; made when absent, made anew when damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or store_root() / "ingest" / "files.sqlite"
        self._version = metadata_version()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            # everything in it can be computed again
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._db = self._open()

    def __enter__(self) -> FileCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        with self._usable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=60)
            with db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT NOT NULL, "
                    "facts TEXT NOT NULL, start BLOB, whole BLOB)"
                )
                db.execute(
                    "CREATE TABLE IF NOT EXISTS sums (path TEXT PRIMARY KEY, state TEXT NOT NULL, "
                    "sha256 TEXT NOT NULL)"
                )
            # 1 ms per megabyte; a damaged page would otherwise be found in the middle of the run
            (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            db.close()
            raise sqlite3.DatabaseError(answer)
        return db

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Report a folder without permission, or a full disk, for the user to fix."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise UserError(
                f"the store's {self.path} cannot be used ({error}): "
                "free some space, or set ARPGNET_STORE to a writable folder"
            ) from None

    def describe(
        self, media: Sequence[Media], workers: int = 1, limits: Limits | None = None
    ) -> list[FileMetadata]:
        """Return the metadata of each file; `workers` processes open new and changed files.

        A file that is absent, unreadable, empty or no video has a `reason`, and so has one
        that ends or holds up its worker.
        """
        states = self._states(media, workers)
        found = {one: self._known(one, state) for one, state in states.items()}
        todo = [one for one, metadata in found.items() if metadata is None]
        for one, seen in self._look(todo, states, workers, limits):
            found[one] = seen[0]
        return [metadata for one in media if (metadata := found[one]) is not None]

    def verify(
        self, media: Sequence[Media], workers: int = 1, limits: Limits | None = None
    ) -> list[Media]:
        """Read everything again, even with unchanged length and time; return changed files.

        The new metadata replaces the old, so that the next run uses it.
        """
        states = self._states(media, workers)
        before = {one: self._known(one, state) for one, state in states.items()}
        after = {one: seen[0] for one, seen in self._look(list(states), states, workers, limits)}
        return [
            one
            for one, metadata in before.items()
            if metadata is not None and metadata.sha256 != after[one].sha256
        ]

    def _look(
        self,
        todo: Sequence[Media],
        states: dict[Media, str | None],
        workers: int,
        limits: Limits | None,
    ) -> Iterator[tuple[Media, Seen]]:
        """Open files and store their metadata."""
        fresh: list[tuple[Media, Seen]] = []
        with track(len(todo), "look at clips", "files") as progress:
            for one, result in run_in_workers(_Look(), todo, workers, limits):
                seen = _seen(result)
                fresh.append((one, seen))
                if len(fresh) == _BATCH:
                    self._keep(fresh, states)
                    fresh.clear()
                progress.advance()
                yield one, seen
            self._keep(fresh, states)

    def sums(self, paths: Sequence[Path], workers: int = 1) -> list[str]:
        """Return each file's sha256, read again only if length or time changed; '': unreadable."""
        names = {stored(str(path)): path for path in paths}
        states = {name: file_state(path) for name, path in names.items()}
        rows = self._db.execute("SELECT path, state, sha256 FROM sums").fetchall()
        known = {path: sha256 for path, state, sha256 in rows if states.get(path) == state}
        todo = [path for path, state in states.items() if state is not None and path not in known]
        with track(len(todo), "read", "stills") as progress, ThreadPoolExecutor(workers) as threads:
            for start in range(0, len(todo), _FILES_AT_ONCE):
                part = todo[start : start + _FILES_AT_ONCE]
                found = dict(
                    zip(part, threads.map(_sha256, [names[name] for name in part]), strict=True)
                )
                read = [(path, states[path], sha256) for path, sha256 in found.items() if sha256]
                with self._usable(), self._db:
                    self._db.executemany("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", read)
                known |= found
                progress.advance(len(part))
        return [known.get(stored(str(path)), "") for path in paths]

    def starts(self, media: Sequence[Media]) -> list[np.ndarray]:
        """Return the fingerprints of files that `describe` found readable."""
        return [_unpacked(self._blob(one, "start")) for one in media]

    def wholes(
        self, media: Sequence[Media], workers: int = 1, limits: Limits | None = None
    ) -> list[np.ndarray]:
        """Return the thumbnails of whole readable clips; `workers` processes read new ones.

        A clip that can no longer be read, or that holds up its worker, has only those of its start.
        """
        blobs = {one: self._blob(one, "whole") for one in media}
        found = {one: _unpacked(blob) for one, blob in blobs.items() if blob is not None}
        todo = [one for one in blobs if one not in found]
        with track(len(todo), "compare", "clips") as progress:
            for one, images in self._read_wholes(todo, workers, limits):
                found[one] = images
                with self._usable(), self._db:
                    row = (images.tobytes(), one.key)
                    self._db.execute("UPDATE files SET whole = ? WHERE path = ?", row)
                progress.advance()
        return [found[one] for one in media]

    def _read_wholes(
        self, media: Sequence[Media], workers: int, limits: Limits | None
    ) -> Iterator[tuple[Media, np.ndarray]]:
        if len(media) < _FEW_CLIPS:
            results: Iterable[tuple[Media, Any]] = ((one, _whole(one)) for one in media)
        else:
            results = run_in_workers(_Wholes(), media, workers, limits)
        for one, result in results:
            usable = isinstance(result, np.ndarray)
            yield one, result if usable else _unpacked(self._blob(one, "start"))

    def _states(self, media: Sequence[Media], workers: int) -> dict[Media, str | None]:
        """Return what identifies a changed file: lengths and times; None: absent."""
        unique = list(dict.fromkeys(media))
        folders = [one for one in unique if one.image_sequence]
        found: dict[Media, str | None] = {}
        if len(folders) > _FEW_FOLDERS and workers > 1:
            parts = _parts(folders, workers)
            with track(len(folders), "list images", "folders") as progress:
                for part, result in run_in_workers(_States(), parts, workers):
                    known = result if isinstance(result, list) else [None] * len(part)
                    found.update(zip(part, known, strict=True))
                    progress.advance(len(part))
        else:
            found = {one: state(one) for one in folders}
        states = {one: found[one] if one.image_sequence else state(one) for one in unique}
        return {one: known and f"{known} {self._version}" for one, known in states.items()}

    def _known(self, media: Media, state: str | None) -> FileMetadata | None:
        if state is None:
            return FileMetadata(reason=NOT_FOUND)
        row = self._db.execute(
            "SELECT CAST(facts AS BLOB), start FROM files WHERE path = ? AND state = ?",
            (media.key, state),
        ).fetchone()
        if row is None:
            return None
        metadata, _, known = row[0].decode(errors="replace").rpartition("\n")
        # a wrong sha256 would be believed for ever: the file has the same length and time
        return (
            FileMetadata(**json.loads(metadata)) if known == _sum(media, metadata, row[1]) else None
        )

    def _keep(self, fresh: Sequence[tuple[Media, Seen]], states: dict[Media, str | None]) -> None:
        # a file without a digest could not be read, for a reason that may disappear without a
        # change of the file
        rows = []
        for one, (metadata, images) in fresh:
            if metadata.sha256:
                text = json.dumps(vars(metadata))
                start = None if images is None else images.tobytes()
                text = f"{text}\n{_sum(one, text, start)}"
                rows.append((one.key, states[one], text, start))
        with self._usable(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)", rows)

    def _blob(self, media: Media, column: str) -> bytes | None:
        row = self._db.execute(
            f"SELECT {column} FROM files WHERE path = ?", (media.key,)
        ).fetchone()
        return row[0] if row else None


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


@dataclass(frozen=True)
class _Look:
    """Reads files in a worker; see `pipeline.runner.workers.Job`."""

    def start(self) -> None:
        """Keep nothing between files."""

    def do(self, item: Media) -> Seen:
        return examine(item)


def _whole(media: Media) -> np.ndarray | None:
    try:
        return whole_thumbnails(media)
    except (ClipError, UserError, OSError):
        return None


@dataclass(frozen=True)
class _Wholes:
    """Reads whole clips in a worker; see `pipeline.runner.workers.Job`."""

    def start(self) -> None:
        """Keep nothing between clips."""

    def do(self, item: Media) -> np.ndarray | None:
        return _whole(item)


@dataclass(frozen=True)
class _States:
    """Reads the states of folders; see `pipeline.runner.workers.Job`."""

    def start(self) -> None:
        """Keep nothing between folders."""

    def do(self, item: Sequence[Media]) -> list[str | None]:
        return [state(one) for one in item]


def _parts(folders: Sequence[Media], workers: int) -> list[tuple[Media, ...]]:
    """Several folders for a worker at a time: to hand one over takes as long as to list 50 files.

    16 parts a worker, so that none waits long for another's last one.
    """
    size = min(64, -(-len(folders) // (16 * workers)))
    return [tuple(folders[low : low + size]) for low in range(0, len(folders), size)]


def _seen(result: Seen | Crashed | TimedOut) -> Seen:
    if isinstance(result, tuple):
        return result
    return FileMetadata(reason=str(result)), None


def _sum(media: Media, metadata: str, start: bytes | None) -> str:
    return digest(media.key, metadata, None if start is None else start.hex())


def _unpacked(blob: bytes | None) -> np.ndarray:
    side = fingerprint.SIDE
    return np.frombuffer(blob or b"", dtype=np.uint8).reshape(-1, side, side)


def near_duplicates_of(
    metadata: Mapping[Media, FileMetadata],
    cache: FileCache,
    workers: int = 1,
    limits: Limits | None = None,
) -> dict[Media, int | None]:
    """Number the groups of near-duplicate readable files; None for files without a duplicate.

    Args:
        metadata: of files that `cache.describe` found readable.
    """
    media = list(metadata)
    images = [
        ClipStart(_length_s(file), start)
        for file, start in zip(metadata.values(), cache.starts(media), strict=True)
    ]
    groups = find_near_duplicates(
        images, lambda rows: cache.wholes([media[row] for row in rows], workers, limits)
    )
    return dict(zip(media, groups, strict=True))


def _length_s(file: FileMetadata) -> float | None:
    """Return the length, from the number of frames where the container gives that alone."""
    if file.duration_s:
        return file.duration_s
    if file.frames is None:
        return None
    # of an image folder: as its thumbnails count time
    fps = file.fps or fingerprint.FOLDER_STEP / fingerprint.STEP_S
    return file.frames / fps
