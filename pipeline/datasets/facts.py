"""What is known of each file: digest, format, fingerprint; looked up by path, length and time.

The cache is one SQLite file in the store. A file whose absolute path, length and
modification time are as before is not opened again, nor a folder of pictures of which that
holds for every one; a changed version of the code or of PyAV makes all entries void.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets import fingerprint
from pipeline.errors import ClipError, UserError
from pipeline.progress import track
from pipeline.store import code_version, digest, file_sha256, store_root
from pipeline.video.pictures import first_picture, folder_sha256, folder_state, read_folder
from pipeline.workers import Crashed, Limits, TimedOut, run_in_workers

NOT_FOUND = "file not found"
NOT_A_FILE = "not a file"
NOT_ALLOWED = "file may not be read"
# an interrupted first run keeps what it has found
_BATCH = 64


# folders are looked through by workers where there are more than this; they take 0.5 s to start
_FEW_FOLDERS = 100


@dataclass(frozen=True)
class Media:
    """A clip's file; or a folder of pictures, with the number of the first frame and the folder of
    their landmarks (see `pipeline.clips.Clip`)."""

    path: Path
    pictures: bool = False
    first: int | None = None
    landmarks: Path | None = None

    @property
    def key(self) -> str:
        """The absolute path, and what else decides about the facts."""
        if not self.pictures:
            return str(self.path)
        return f"{self.path} {self.first} {self.landmarks or ''}".rstrip()

    def folders(self) -> list[Path]:
        """The folders that everything about the pictures lies in."""
        return [self.path, self.landmarks] if self.landmarks else [self.path]


# facts and the fingerprint, where there is one
_Seen = tuple["FileFacts", np.ndarray | None]


@dataclass(frozen=True)
class FileFacts:
    """A file's sha256 (empty if unreadable), its format, and why it cannot be used, if so."""

    sha256: str = ""
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None


def facts_version() -> str:
    """Changes whenever the same bytes might be described otherwise."""
    code = code_version(
        "pipeline.video.container",
        "pipeline.video.pictures",
        "pipeline.datasets.fingerprint",
        "pipeline.datasets.facts",
    )
    return digest(code, version("av"))


class FileCache:
    """Facts and fingerprints by (absolute path, length, modification time).

    Args:
        path: the SQLite file; made when absent, made anew when damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or store_root() / "ingest" / "files.sqlite"
        self._version = facts_version()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            # nothing in it cannot be found out again
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
            # 1 ms a megabyte; a page that is damaged would be found in the middle of the run
            (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            db.close()
            raise sqlite3.DatabaseError(answer)
        return db

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """A folder that is not ours, or a full disk, is the user's to mend."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise UserError(
                f"the store's {self.path} cannot be used ({error}): "
                "free some space, or set ARPGNET_STORE to a folder you may write"
            ) from None

    def describe(
        self, media: Sequence[Media], workers: int = 1, limits: Limits | None = None
    ) -> list[FileFacts]:
        """The facts of each file; what is new or changed is opened by `workers` processes.

        A file that is absent, unreadable, empty or no video has a `reason`, and so has one
        that ends or holds up its worker.
        """
        states = self._states(media, workers)
        found = {one: self._known(one, state) for one, state in states.items()}
        todo = [one for one, facts in found.items() if facts is None]
        for one, seen in self._look(todo, states, workers, limits):
            found[one] = seen[0]
        return [facts for one in media if (facts := found[one]) is not None]

    def verify(
        self, media: Sequence[Media], workers: int = 1, limits: Limits | None = None
    ) -> list[Media]:
        """Read everything again, whatever its length and time; what has other bytes than before.

        The new facts take the old ones' place, so that the next run works with them.
        """
        states = self._states(media, workers)
        before = {one: self._known(one, state) for one, state in states.items()}
        after = {one: seen[0] for one, seen in self._look(list(states), states, workers, limits)}
        return [
            one
            for one, facts in before.items()
            if facts is not None and facts.sha256 != after[one].sha256
        ]

    def _look(
        self,
        todo: Sequence[Media],
        states: dict[Media, str | None],
        workers: int,
        limits: Limits | None,
    ) -> Iterator[tuple[Media, _Seen]]:
        """Open files and remember what was seen."""
        fresh: list[tuple[Media, _Seen]] = []
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

    def starts(self, media: Sequence[Media]) -> list[np.ndarray]:
        """The fingerprints of files that `describe` found readable."""
        return [_unpacked(self._blob(one, "start")) for one in media]

    def whole(self, media: Media) -> np.ndarray:
        """The thumbnails of a whole readable clip, made on the first call."""
        blob = self._blob(media, "whole")
        if blob is None:
            pictures = _whole(media)
            with self._usable(), self._db:
                self._db.execute(
                    "UPDATE files SET whole = ? WHERE path = ?", (pictures.tobytes(), media.key)
                )
            return pictures
        return _unpacked(blob)

    def _states(self, media: Sequence[Media], workers: int) -> dict[Media, str | None]:
        """What tells a changed file: of a folder, its pictures' lengths and times; None: absent."""
        unique = list(dict.fromkeys(media))
        folders = [one for one in unique if one.pictures]
        found: dict[Media, str | None] = {}
        if len(folders) > _FEW_FOLDERS and workers > 1:
            parts = _parts(folders, workers)
            with track(len(folders), "list pictures") as progress:
                for part, result in run_in_workers(_States(), parts, workers):
                    known = result if isinstance(result, list) else [None] * len(part)
                    found.update(zip(part, known, strict=True))
                    progress.advance(len(part))
        else:
            found = {one: _folder_state(one) for one in folders}
        states = {one: found[one] if one.pictures else _file_state(one.path) for one in unique}
        return {one: state and f"{state} {self._version}" for one, state in states.items()}

    def _known(self, media: Media, state: str | None) -> FileFacts | None:
        if state is None:
            return FileFacts(reason=NOT_FOUND)
        row = self._db.execute(
            "SELECT CAST(facts AS BLOB), start FROM files WHERE path = ? AND state = ?",
            (media.key, state),
        ).fetchone()
        if row is None:
            return None
        facts, _, known = row[0].decode(errors="replace").rpartition("\n")
        # a wrong sha256 would be believed for ever: the file has the same length and time
        return FileFacts(**json.loads(facts)) if known == _sum(media, facts, row[1]) else None

    def _keep(self, fresh: Sequence[tuple[Media, _Seen]], states: dict[Media, str | None]) -> None:
        # what the machine refuses today it may allow tomorrow without a change of the file;
        # without a sum of its bytes it was not read
        rows = []
        for one, (facts, pictures) in fresh:
            if facts.sha256:
                text = json.dumps(vars(facts))
                start = None if pictures is None else pictures.tobytes()
                text = f"{text}\n{_sum(one, text, start)}"
                rows.append((one.key, states[one], text, start))
        with self._usable(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)", rows)

    def _blob(self, media: Media, column: str) -> bytes | None:
        row = self._db.execute(
            f"SELECT {column} FROM files WHERE path = ?", (media.key,)
        ).fetchone()
        return row[0] if row else None


@dataclass(frozen=True)
class _Look:
    """What a worker does; see `pipeline.workers.Job`."""

    def start(self) -> None:
        """Nothing is kept between files."""

    def do(self, item: Media) -> _Seen:
        return _examine(item)


@dataclass(frozen=True)
class _States:
    """The states of some folders; see `pipeline.workers.Job`."""

    def start(self) -> None:
        """Nothing is kept between folders."""

    def do(self, item: Sequence[Media]) -> list[str | None]:
        return [_folder_state(one) for one in item]


def _parts(folders: Sequence[Media], workers: int) -> list[tuple[Media, ...]]:
    """Several folders for a worker at a time: to hand one over takes as long as to list 50 files.

    16 parts a worker, so that none waits long for another's last one.
    """
    size = min(64, -(-len(folders) // (16 * workers)))
    return [tuple(folders[low : low + size]) for low in range(0, len(folders), size)]


def _file_state(path: Path) -> str | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path.stat costs twice as much
    except OSError:
        return None
    return f"{status.st_size} {status.st_mtime_ns}"


def _folder_state(media: Media) -> str | None:
    try:
        return " ".join(folder_state(folder) for folder in media.folders())
    except OSError:
        return None


def _seen(result: _Seen | Crashed | TimedOut) -> _Seen:
    if isinstance(result, tuple):
        return result
    return FileFacts(reason=str(result)), None


def _examine(media: Media) -> _Seen:
    try:
        if media.pictures:
            facts = FileFacts(sha256=digest(*map(folder_sha256, media.folders())))
        elif not media.path.is_file():
            return FileFacts(reason=NOT_A_FILE if media.path.exists() else NOT_FOUND), None
        else:
            facts = FileFacts(sha256=file_sha256(media.path))
    except OSError:
        return FileFacts(reason=NOT_ALLOWED), None
    try:
        if media.pictures:
            folder = read_folder(media.path, media.first)
            first = first_picture(folder)
            facts = replace(
                facts, frames=folder.frames, width=first.shape[1], height=first.shape[0]
            )
            return facts, fingerprint.picture_thumbnails(folder)
        facts = replace(facts, **_container(media.path))
        return facts, fingerprint.thumbnails(media.path)
    except ClipError as error:
        return FileFacts(sha256=facts.sha256, reason=error.reason), None


def _container(path: Path) -> dict[str, Any]:
    from pipeline.video.container import probe

    seen = probe(path)
    names = ("fps", "frames", "duration_s", "width", "height")
    return {name: getattr(seen, name) for name in names}


def _whole(media: Media) -> np.ndarray:
    if media.pictures:
        folder = read_folder(media.path, media.first)
        return fingerprint.picture_thumbnails(folder, fingerprint.WHOLE)
    return fingerprint.thumbnails(media.path, fingerprint.WHOLE)


def _sum(media: Media, facts: str, start: bytes | None) -> str:
    return digest(media.key, facts, None if start is None else start.hex())


def _unpacked(blob: bytes | None) -> np.ndarray:
    side = fingerprint.SIDE
    return np.frombuffer(blob or b"", dtype=np.uint8).reshape(-1, side, side)
