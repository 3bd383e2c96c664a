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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import UserError
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
        with track(len(todo), "look at clips") as progress:
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
        with track(len(todo), "read stills") as progress, ThreadPoolExecutor(workers) as threads:
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

    def whole(self, media: Media) -> np.ndarray:
        """Return the thumbnails of a whole readable clip, computed on the first call."""
        blob = self._blob(media, "whole")
        if blob is None:
            images = whole_thumbnails(media)
            with self._usable(), self._db:
                self._db.execute(
                    "UPDATE files SET whole = ? WHERE path = ?", (images.tobytes(), media.key)
                )
            return images
        return _unpacked(blob)

    def _states(self, media: Sequence[Media], workers: int) -> dict[Media, str | None]:
        """Return what identifies a changed file: lengths and times; None: absent."""
        unique = list(dict.fromkeys(media))
        folders = [one for one in unique if one.image_sequence]
        found: dict[Media, str | None] = {}
        if len(folders) > _FEW_FOLDERS and workers > 1:
            parts = _parts(folders, workers)
            with track(len(folders), "list images") as progress:
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
    metadata: Mapping[Media, FileMetadata], cache: FileCache
) -> dict[Media, int | None]:
    """Number the groups of near-duplicate readable files; None for files without a duplicate.

    Args:
        metadata: of files that `cache.describe` found readable.
    """
    media = list(metadata)
    images = [
        ClipStart(_frames(file), start)
        for file, start in zip(metadata.values(), cache.starts(media), strict=True)
    ]
    groups = find_near_duplicates(images, lambda row: cache.whole(media[row]))
    return dict(zip(media, groups, strict=True))


def _frames(file: FileMetadata) -> int | None:
    """Return the number of frames, estimated from the length if the container does not say."""
    if file.frames is None and file.duration_s and file.fps:
        return round(file.duration_s * file.fps)
    return file.frames
