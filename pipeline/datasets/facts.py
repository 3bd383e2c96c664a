"""What is known of each file: digest, format, fingerprint; looked up by path, length and time.

The cache is one SQLite file in the store. A file whose absolute path, length and
modification time are as before is not opened again; a changed version of the code or of
PyAV makes all entries void.
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

import numpy as np

from pipeline.datasets import fingerprint
from pipeline.errors import ClipError, UserError
from pipeline.progress import track
from pipeline.store import code_version, digest, file_sha256, store_root
from pipeline.workers import Crashed, Limits, TimedOut, run_in_workers

NOT_FOUND = "file not found"
NOT_A_FILE = "not a file"
NOT_ALLOWED = "file may not be read"
# an interrupted first run keeps what it has found
_BATCH = 64


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
        "pipeline.video.container", "pipeline.datasets.fingerprint", "pipeline.datasets.facts"
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
        self, paths: Sequence[Path], workers: int = 1, limits: Limits | None = None
    ) -> list[FileFacts]:
        """The facts of each file; what is new or changed is opened by `workers` processes.

        A file that is absent, unreadable, empty or no video has a `reason`, and so has one
        that ends or holds up its worker.
        """
        states = {path: self._state(path) for path in paths}
        found = {path: self._known(path, state) for path, state in states.items()}
        todo = [path for path, facts in found.items() if facts is None]
        fresh: list[tuple[Path, _Seen]] = []
        with track(len(todo), "look at clips") as progress:
            for path, result in run_in_workers(_Look(), todo, workers, limits):
                seen = _seen(result)
                found[path] = seen[0]
                fresh.append((path, seen))
                if len(fresh) == _BATCH:
                    self._keep(fresh, states)
                    fresh.clear()
                progress.advance()
            self._keep(fresh, states)
        return [facts for path in paths if (facts := found[path]) is not None]

    def starts(self, paths: Sequence[Path]) -> list[np.ndarray]:
        """The fingerprints of files that `describe` found readable."""
        return [_unpacked(self._blob(path, "start")) for path in paths]

    def whole(self, path: Path) -> np.ndarray:
        """The thumbnails of a whole readable clip, made on the first call."""
        blob = self._blob(path, "whole")
        if blob is None:
            pictures = fingerprint.thumbnails(path, fingerprint.WHOLE)
            with self._usable(), self._db:
                self._db.execute(
                    "UPDATE files SET whole = ? WHERE path = ?", (pictures.tobytes(), str(path))
                )
            return pictures
        return _unpacked(blob)

    def _state(self, path: Path) -> str | None:
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path.stat costs twice as much
        except OSError:
            return None
        return f"{status.st_size} {status.st_mtime_ns} {self._version}"

    def _known(self, path: Path, state: str | None) -> FileFacts | None:
        if state is None:
            return FileFacts(reason=NOT_FOUND)
        row = self._db.execute(
            "SELECT CAST(facts AS BLOB), start FROM files WHERE path = ? AND state = ?",
            (str(path), state),
        ).fetchone()
        if row is None:
            return None
        facts, _, known = row[0].decode(errors="replace").rpartition("\n")
        # a wrong sha256 would be believed for ever: the file has the same length and time
        return FileFacts(**json.loads(facts)) if known == _sum(path, facts, row[1]) else None

    def _keep(self, fresh: Sequence[tuple[Path, _Seen]], states: dict[Path, str | None]) -> None:
        # what the machine refuses today it may allow tomorrow without a change of the file;
        # without a sum of its bytes it was not read
        rows = []
        for path, (facts, pictures) in fresh:
            if facts.sha256:
                text = json.dumps(vars(facts))
                start = None if pictures is None else pictures.tobytes()
                text = f"{text}\n{_sum(path, text, start)}"
                rows.append((str(path), states[path], text, start))
        with self._usable(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)", rows)

    def _blob(self, path: Path, column: str) -> bytes | None:
        row = self._db.execute(
            f"SELECT {column} FROM files WHERE path = ?", (str(path),)
        ).fetchone()
        return row[0] if row else None


@dataclass(frozen=True)
class _Look:
    """What a worker does; see `pipeline.workers.Job`."""

    def start(self) -> None:
        """Nothing is kept between files."""

    def do(self, item: Path) -> _Seen:
        return _examine(item)


def _seen(result: _Seen | Crashed | TimedOut) -> _Seen:
    if isinstance(result, tuple):
        return result
    return FileFacts(reason=str(result)), None


def _examine(path: Path) -> _Seen:
    from pipeline.video.container import probe

    try:
        if not path.is_file():
            return FileFacts(reason=NOT_A_FILE if path.exists() else NOT_FOUND), None
        facts = FileFacts(sha256=file_sha256(path))
    except OSError:
        return FileFacts(reason=NOT_ALLOWED), None
    try:
        seen = probe(path)
        start = fingerprint.thumbnails(path)
    except ClipError as error:
        return replace(facts, reason=error.reason), None
    return (
        replace(
            facts,
            fps=seen.fps,
            frames=seen.frames,
            duration_s=seen.duration_s,
            width=seen.width,
            height=seen.height,
        ),
        start,
    )


def _sum(path: Path, facts: str, start: bytes | None) -> str:
    return digest(str(path), facts, None if start is None else start.hex())


def _unpacked(blob: bytes | None) -> np.ndarray:
    side = fingerprint.SIDE
    return np.frombuffer(blob or b"", dtype=np.uint8).reshape(-1, side, side)
