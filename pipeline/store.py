"""The content-addressed store: a result is computed once, whatever DVC deletes.

An entry is one file `<root>/<room>/<key[:2]>/<key>.<kind>`, see `pipeline.entries`: a
reader sees all of it or nothing, and a damaged entry counts as missing and is deleted.
Any number of processes may use one store at the same time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipeline.disk import partial, replace_folder, writing_to
from pipeline.entries import (
    STORE_VARIABLE,
    TEMPORARY,
    DamagedError,
    blocks,
    open_entry,
    writing,
)
from pipeline.errors import UserError
from pipeline.progress import track

Kind = Literal["table", "failure", "file", "folder"]
_SUFFIXES = frozenset({".table", ".failure", ".file", ".folder"})

# ms per 100 MB to write and to read, and the part left, of 90 % JPEG bytes: none 7, 1, 1.00;
# lz4 47, 14, 1.00; zstd 133, 25, 1.00. Of MobileFaceNet's maps in float16: none 8, 1, 1.00;
# lz4 149, 38, 0.72; zstd 267, 113, 0.60. Entries are read more often than written.
_COMPRESSION = "lz4"
# a temporary file this old belongs to a process that was killed
_TEMPORARY_LIFE_S = 24 * 3600
_ROOM = re.compile(r"[a-z][a-z0-9_-]*")
_KEY = re.compile(r"[0-9a-f]{16,}")


def store_root() -> Path:
    """The store's folder: `ARPGNET_STORE`, else `arpgnet` in the user's cache folder.

    Raises:
        UserError: `ARPGNET_STORE` is not an absolute path; DVC runs experiments in other
            folders, where a relative one would name another store.
    """
    named = os.environ.get(STORE_VARIABLE)
    if not named:
        import platformdirs

        return Path(platformdirs.user_cache_dir("arpgnet", appauthor=False))
    root = Path(named).expanduser()
    if not root.is_absolute():
        raise UserError(f"{STORE_VARIABLE}={named}: give an absolute path")
    return root


def digest(*parts: Any) -> str:
    """Sha256 (hex) of the parts as canonical JSON: equal values, equal digest, on any machine.

    Parts are None, bools, ints, finite floats, strings, lists, string-keyed mappings and
    pydantic models. Floats are written in their shortest exact form.

    Raises:
        TypeError: a part has no canonical form (a Path, bytes, an array, a set).
        ValueError: a float is not finite.
    """
    text = json.dumps(
        parts,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
        default=_plain,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(part: Any) -> Any:
    dump = getattr(part, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(part).__name__} has no canonical form for a key")
    return dump(mode="json")


def file_sha256(path: Path) -> str:
    """Sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_version(*names: str) -> str:
    """Digest of the source text of our own modules, e.g. `code_version("pipeline.video")`.

    A package stands for all `.py` files below it. Nothing but the packages above the
    named module is imported.

    Raises:
        ModuleNotFoundError: no such module.
    """
    sources: dict[str, str] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        origin = Path(spec.origin)
        if spec.submodule_search_locations is None:
            sources[name] = origin.read_text(encoding="utf-8")
            continue
        for file in sorted(origin.parent.rglob("*.py")):
            inner = file.relative_to(origin.parent).as_posix()
            sources[f"{name}/{inner}"] = file.read_text(encoding="utf-8")
    return digest(sources)


@dataclass
class RoomStats:
    """What one room (a stage) holds."""

    entries: int = 0
    failures: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Removed:
    """What `Store.gc` removed, or would remove."""

    entries: int
    bytes: int


class Store:
    """Finished per-clip results and training runs, found by key.

    Args:
        root: the folder; `store_root()` when absent. It is made on the first write.

    Every writing method raises UserError when the folder cannot be written or the disk is
    full; every reading method treats a damaged entry as missing and deletes it.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else store_root()

    def has(self, stage: str, key: str, kind: Kind = "table") -> bool:
        """Whether there is an entry; its checksum is looked at only on reading."""
        return self._path(stage, key, kind).is_file()

    def get_table(self, stage: str, key: str) -> Iterator[pa.Table] | None:
        """The pieces of this key's table in their order, or None.

        The checksum has been verified before the first piece; one is held at a time.
        """
        found = self._open(stage, key, "table")
        return None if found is None else _pieces(found[0])

    def put_table(self, stage: str, key: str, pieces: Iterable[pa.Table]) -> None:
        """Keep a table, which is written piece by piece as `pieces` are made.

        When making one fails, that error comes out and the key holds what it held before.

        Raises:
            ValueError: there is no piece, or two have different columns.
        """
        options = pa.ipc.IpcWriteOptions(compression=_COMPRESSION)
        with self._writing(stage, key, "table") as sink, contextlib.ExitStack() as stack:
            writer: Any = None
            for piece in pieces:
                if writer is None:
                    stream = pa.ipc.new_stream(sink, piece.schema, options=options)
                    writer = stack.enter_context(stream)
                # one record batch a piece, however many chunks its columns have
                writer.write_table(piece.combine_chunks())
            if writer is None:
                raise ValueError(f"{stage}: a table has at least one piece")

    def get_failure(self, stage: str, key: str) -> str | None:
        """Why this key cannot be computed, or None when that is not known."""
        found = self._open(stage, key, "failure")
        if found is None:
            return None
        with found[0] as file:
            return bytes(file.read(found[1])).decode()

    def put_failure(self, stage: str, key: str, reason: str) -> None:
        """Remember that a clip is bad, so that it is not tried again."""
        with self._writing(stage, key, "failure") as sink:
            sink.write(reason.encode())

    def get_file(self, stage: str, key: str, into: Path) -> bool:
        """Copy the file of this key to `into` (atomically); False when there is none."""
        found = self._open(stage, key, "file")
        if found is None:
            return False
        with found[0], writing_to(into):
            into.parent.mkdir(parents=True, exist_ok=True)
            with partial(into).open("wb") as file:
                file.writelines(blocks(*found))
            partial(into).replace(into)
        return True

    def put_file(self, stage: str, key: str, source: Path) -> None:
        """Keep a copy of one file, replacing what the key held."""
        with self._writing(stage, key, "file") as sink, source.open("rb") as stream:
            shutil.copyfileobj(stream, sink, 1 << 20)

    def get_folder(self, stage: str, key: str, into: Path) -> bool:
        """Make `into` a copy of the folder of this key; False when there is none.

        What `into` held before is replaced, and only once the copy is complete.
        """
        found = self._open(stage, key, "folder")
        if found is None:
            return False
        fresh = partial(into)
        with found[0] as file, writing_to(into):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            with tarfile.open(fileobj=file, mode="r|") as tar:
                tar.extractall(fresh, filter="data")
            replace_folder(fresh, into)
        return True

    def put_folder(self, stage: str, key: str, folder: Path) -> None:
        """Keep a copy of a folder's regular files, replacing what the key held."""
        with (
            self._writing(stage, key, "folder") as sink,
            tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    tar.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)

    def remove(self, stage: str, key: str, kind: Kind) -> None:
        """Forget one entry; nothing happens when there is none."""
        self._path(stage, key, kind).unlink(missing_ok=True)

    def stats(self) -> dict[str, RoomStats]:
        """Entries, remembered failures and bytes of every room, by room name."""
        rooms: dict[str, RoomStats] = {}
        for path, status in self._entries():
            room = rooms.setdefault(path.parent.parent.name, RoomStats())
            room.entries += 1
            room.failures += path.suffix == ".failure"
            room.bytes += status.st_size
        return dict(sorted(rooms.items()))

    def verify(self) -> list[Path]:
        """Read every entry, delete the damaged ones, and return their paths."""
        damaged = []
        with track(sum(1 for _ in self._entries()), "verify") as progress:
            for path, _ in self._entries():
                try:
                    open_entry(path, self.root)[0].close()
                except DamagedError:
                    damaged.append(path)
                except FileNotFoundError:
                    pass  # another process removed it
                progress.advance()
        return damaged

    def gc(self, *, unused_days: float, dry_run: bool = False) -> Removed:
        """Delete entries that nobody read or wrote for `unused_days`, and dead temporary files."""
        now = time.time()
        entries = size = 0
        for path, status in self._files():
            is_entry, age = _is_entry(path), now - status.st_mtime
            if (is_entry and age >= unused_days * 86400) or _is_abandoned(path, age):
                entries, size = entries + is_entry, size + status.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
        return Removed(entries, size)

    def sweep(self, stage: str) -> None:
        """Delete the temporary files that killed processes left in a room; 30 ms in 20,000 entries.

        A clip of an hour leaves gigabytes, and few people call `gc`.
        """
        now = time.time()
        for path in self.root.glob(f"{stage}/*/{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if _is_abandoned(path, now - path.stat().st_mtime):
                    path.unlink()

    def _path(self, stage: str, key: str, kind: Kind) -> Path:
        if not _ROOM.fullmatch(stage) or not _KEY.fullmatch(key):
            raise ValueError(f"not a room and a hex key: {stage!r}, {key!r}")
        return self.root / stage / key[:2] / f"{key}.{kind}"

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in sorted(self.root.glob("*/*/*")):
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        return (found for found in self._files() if _is_entry(found[0]))

    def _open(self, stage: str, key: str, kind: Kind) -> tuple[pa.NativeFile, int] | None:
        path = self._path(stage, key, kind)
        try:
            found = open_entry(path, self.root)
        except (FileNotFoundError, DamagedError):
            return None
        # gc goes by the time of the last use
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def _writing(self, stage: str, key: str, kind: Kind) -> contextlib.AbstractContextManager[Any]:
        return writing(self._path(stage, key, kind), self.root)


def _is_entry(path: Path) -> bool:
    return path.suffix in _SUFFIXES and _KEY.fullmatch(path.stem) is not None


def _is_abandoned(path: Path, age_s: float) -> bool:
    return path.name.startswith(TEMPORARY) and age_s > _TEMPORARY_LIFE_S


def _pieces(file: pa.NativeFile) -> Iterator[pa.Table]:
    with file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owner and times say nothing about the content."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o644
    return info
