"""The content-addressed store: a result is computed once, whatever DVC deletes.

An entry is one file `<root>/<room>/<key[:2]>/<key>.<kind>`: the payload, its sha256 and
a magic word. It is written to a temporary file in the same folder, synced and renamed,
so that a reader sees all of it or nothing; a damaged entry counts as missing and is
deleted. Any number of processes may use one store at the same time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from pipeline.errors import UserError

STORE_VARIABLE = "ARPGNET_STORE"

Kind = Literal["table", "failure", "file", "folder"]
KINDS: tuple[Kind, ...] = ("table", "failure", "file", "folder")

_MAGIC = b"ARPGNET1"
_TRAILER = hashlib.sha256().digest_size + len(_MAGIC)
_TEMPORARY = "tmp-"
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

    def get_table(self, stage: str, key: str) -> pa.Table | None:
        """The table of this key, or None."""
        payload = self._read(self._path(stage, key, "table"))
        if payload is None:
            return None
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            return reader.read_all()

    def put_table(self, stage: str, key: str, table: pa.Table) -> None:
        """Keep a table (Arrow IPC, zstd)."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        payload = sink.getvalue()
        self._write(self._path(stage, key, "table"), lambda file: _write_all(file, payload))

    def get_failure(self, stage: str, key: str) -> str | None:
        """Why this key cannot be computed, or None when that is not known."""
        payload = self._read(self._path(stage, key, "failure"))
        return None if payload is None else bytes(payload).decode()

    def put_failure(self, stage: str, key: str, reason: str) -> None:
        """Remember that a clip is bad, so that it is not tried again."""
        payload = reason.encode()
        self._write(self._path(stage, key, "failure"), lambda file: _write_all(file, payload))

    def get_file(self, stage: str, key: str, into: Path) -> bool:
        """Copy the file of this key to `into` (atomically); False when there is none."""
        payload = self._read(self._path(stage, key, "file"))
        if payload is None:
            return False
        into.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=into.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
        Path(name).replace(into)
        return True

    def put_file(self, stage: str, key: str, source: Path) -> None:
        """Keep a copy of one file, replacing what the key held."""

        def copy(file: BinaryIO) -> None:
            with source.open("rb") as stream:
                shutil.copyfileobj(stream, file, 1 << 20)

        self._write(self._path(stage, key, "file"), copy)

    def get_folder(self, stage: str, key: str, into: Path) -> bool:
        """Make `into` a copy of the folder of this key; False when there is none.

        What `into` held before is replaced, and only once the copy is complete.
        """
        payload = self._read(self._path(stage, key, "folder"))
        if payload is None:
            return False
        into.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=into.parent))
        with tarfile.open(fileobj=io.BytesIO(payload), mode="r:") as tar:
            tar.extractall(fresh, filter="data")
        fresh.chmod(0o755)
        replace_folder(fresh, into)
        return True

    def put_folder(self, stage: str, key: str, folder: Path) -> None:
        """Keep a copy of a folder's regular files, replacing what the key held."""

        def pack(file: BinaryIO) -> None:
            with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for path in sorted(folder.rglob("*")):
                    if path.is_file() and not path.is_symlink():
                        tar.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)

        self._write(self._path(stage, key, "folder"), pack)

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
        return [path for path, _ in self._entries() if self._read(path, touch=False) is None]

    def gc(self, *, unused_days: float, dry_run: bool = False) -> Removed:
        """Delete entries that nobody read or wrote for `unused_days`, and dead temporary files."""
        now = time.time()
        entries = size = 0
        for path, status in self._entries():
            if now - status.st_mtime >= unused_days * 86400:
                entries, size = entries + 1, size + status.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
        for path, status in self._files():
            if path.name.startswith(_TEMPORARY) and now - status.st_mtime > _TEMPORARY_LIFE_S:
                size += status.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
        return Removed(entries, size)

    def _path(self, stage: str, key: str, kind: Kind) -> Path:
        if not _ROOM.fullmatch(stage) or not _KEY.fullmatch(key):
            raise ValueError(f"not a room and a hex key: {stage!r}, {key!r}")
        return self.root / stage / key[:2] / f"{key}.{kind}"

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in sorted(self.root.glob("*/*/*")):
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                if path.is_file():
                    yield path, path.stat()

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        suffixes = {f".{kind}" for kind in KINDS}
        for path, status in self._files():
            if path.suffix in suffixes and _KEY.fullmatch(path.stem):
                yield path, status

    def _read(self, path: Path, *, touch: bool = True) -> memoryview | None:
        try:
            data = memoryview(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._explained(error) from None
        payload, trailer = data[:-_TRAILER], bytes(data[-_TRAILER:])
        if trailer != hashlib.sha256(payload).digest() + _MAGIC:
            path.unlink(missing_ok=True)
            return None
        if touch:
            # gc goes by the time of the last use
            with contextlib.suppress(OSError):
                os.utime(path)
        return payload

    def _write(self, path: Path, fill: Callable[[BinaryIO], None]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        except OSError as error:
            raise self._explained(error) from None
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                hashing = _HashingFile(file)
                fill(hashing)  # type: ignore[arg-type]
                file.write(hashing.sha256.digest() + _MAGIC)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise self._explained(error) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _explained(self, error: OSError) -> Exception:
        advice = f"free some space, or set {STORE_VARIABLE} to a folder you may write (absolute)"
        return explained(error, self.root, advice)


def explained(error: OSError, place: Path, advice: str) -> Exception:
    """A full disk or a folder that is not ours as the user's to mend; other faults as they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(f"the disk of {place} is full: {advice}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return UserError(f"{place} cannot be written ({error.strerror}): {advice}")
    return error


def replace_folder(fresh: Path, target: Path) -> None:
    """Put the finished folder `fresh` in the place of `target` (same file system)."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists() or target.is_symlink():
        target.unlink()
    fresh.rename(target)


class _HashingFile:
    """A binary sink that hashes what passes through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def _write_all(file: BinaryIO, payload: Any) -> None:
    file.write(payload)


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owner and times say nothing about the content."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o644
    return info
