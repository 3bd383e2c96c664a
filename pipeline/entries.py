"""The store's files: a payload, a sha256 and a magic word; all of it or nothing.

The sum is over the room, the key and the payload, so that an entry is right in its place only.

An entry is written to a temporary file in the same folder, synced and renamed. It is
read twice, first for the checksum alone, so that of a damaged one nothing is handed out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.disk import writing_to
from pipeline.errors import UserError

STORE_VARIABLE = "ARPGNET_STORE"
TEMPORARY = "tmp-"

_ADVICE = f"free some space, or set {STORE_VARIABLE} to a folder you may write (absolute)"
_MAGIC = b"ARPGNET2"
_TRAILER = hashlib.sha256().digest_size + len(_MAGIC)
_BLOCK = 1 << 20


class Sink:
    """A binary file that hashes what passes through.

    The store's faults are explained here and not around the whole writing: what makes the
    payload may fail on files of its own, and those have another remedy.
    """

    closed = False  # pyarrow asks

    def __init__(self, file: BinaryIO, path: Path, root: Path) -> None:
        self._file = file
        self._root = root
        self._sha256 = _sum_of(path)

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        with _storing(self._root):
            return self._file.write(data)

    def flush(self) -> None:
        """Nothing: `seal` brings all of it to the disk."""

    def seal(self) -> None:
        """Write the trailer and sync."""
        with _storing(self._root):
            self._file.write(self._sha256.digest() + _MAGIC)
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def writing(path: Path, root: Path) -> Iterator[Sink]:
    """A sink for the entry at `path`, which is replaced when the block ends without an error.

    Raises:
        UserError: the store's folder `root` cannot be written, or its disk is full.
    """
    try:
        with _storing(root):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    except FileNotFoundError as error:  # a place like /proc, where nothing can be made
        raise UserError(f"{root} cannot be written ({error.strerror}): {_ADVICE}") from None
    temporary = Path(name)
    file = os.fdopen(handle, "wb")
    try:
        sink = Sink(file, path, root)
        yield sink
        sink.seal()
        with _storing(root):
            temporary.replace(path)
    finally:
        # what is sealed is on the disk; of the rest nothing is wanted, a full disk's word neither
        with contextlib.suppress(OSError):
            file.close()
        temporary.unlink(missing_ok=True)


class DamagedError(Exception):
    """An entry's checksum is wrong, and it has been deleted."""


def open_entry(path: Path, root: Path) -> tuple[pa.NativeFile, int]:
    """The entry at `path` as an open file at its start and the payload's length in bytes.

    What is read later comes from the file that was checked, whoever replaces the entry
    meanwhile.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it was.
        UserError: it may not be read.
    """
    with _storing(root):
        file = pa.OSFile(str(path), "rb")
    length = file.size() - _TRAILER
    if _intact(file, length, _sum_of(path)):
        file.seek(0)
        return file, length
    file.close()
    path.unlink(missing_ok=True)
    raise DamagedError(path)


def blocks(file: pa.NativeFile, length: int) -> Iterator[bytes]:
    """The next `length` bytes, piece by piece."""
    while length > 0 and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block


def _intact(file: pa.NativeFile, length: int, sha256: Any) -> bool:
    """Costs 80 ms per 100 MB: 65 for the sum (with SHA instructions), 15 for the reading."""
    for block in blocks(file, length):
        sha256.update(block)
    return bool(file.read() == sha256.digest() + _MAGIC)


def _sum_of(path: Path) -> Any:
    """A sum that begins with the room and the key: another key's entry is no entry of this one.

    A repaired file system or a careless copy may put whole files in each other's places.
    """
    return hashlib.sha256(f"{path.parent.parent.name}/{path.name}\n".encode())


def _storing(root: Path) -> AbstractContextManager[None]:
    """Faults of the store's own files, with the store's remedy."""
    return writing_to(root, _ADVICE)
