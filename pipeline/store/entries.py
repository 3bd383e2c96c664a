"""An entry: a payload, a sha256 and a magic word; the same bytes wherever the store is.

The sum is over the namespace, the key and the payload, so that an entry is right in its place only.
An entry is read twice, first for the checksum alone, so that of a damaged one nothing is
handed out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast, get_args

Kind = Literal["table", "failure", "file"]

_NAMESPACE = re.compile(r"[a-z][a-z0-9_-]*")
_KEY = re.compile(r"[0-9a-f]{16,}")
_MAGIC = b"ARPGNET2"
TRAILER = hashlib.sha256().digest_size + len(_MAGIC)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """The name of an entry: a namespace (a stage), a hex key, and its kind.

    Raises:
        ValueError: it could be a path out of the store.
    """

    namespace: str
    key: str
    kind: Kind

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace) or not _KEY.fullmatch(self.key):
            raise ValueError(f"not a namespace and a hex key: {self.namespace!r}, {self.key!r}")

    @classmethod
    def at(cls, path: str) -> Entry | None:
        """Parse the path of an entry relative to the store; None for any other file."""
        namespace = path.partition("/")[0]
        key, _, kind = path.rpartition("/")[2].partition(".")
        if kind not in get_args(Kind):
            return None
        try:
            entry = cls(namespace, key, cast(Kind, kind))
        except ValueError:
            return None
        return entry if entry.path == path else None

    @property
    def path(self) -> str:
        """Relative to the store."""
        return f"{self.namespace}/{self.key[:2]}/{self.key}.{self.kind}"

    def sum(self) -> Any:
        """Start a sha256 with the namespace and the key: no other key's entry is this one's.

        A repaired file system or a careless copy may put whole files in each other's places.
        """
        return hashlib.sha256(f"{self.namespace}/{self.key}.{self.kind}\n".encode())


class DamagedError(Exception):
    """An entry's checksum is wrong, and it has been deleted."""


class Sink:
    """A binary file that hashes what passes through.

    The store's faults are explained here and not around the whole writing: what makes the
    payload may fail on files of its own, and those have another remedy.

    Args:
        storing: around each access to the file; turns its faults into errors that the user can fix.

    Attributes:
        size: bytes written so far; once it is sealed, those of the entry.
    """

    closed = False  # pyarrow asks

    def __init__(
        self, file: BinaryIO, entry: Entry, storing: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._file = file
        self._storing = storing
        self._sha256 = entry.sum()
        self.size = 0

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        with self._storing():
            written = self._file.write(data)
        self.size += written
        return written

    def flush(self) -> None:
        """Do nothing: `seal` brings all of it to the file."""

    def seal(self) -> None:
        """Write the trailer."""
        with self._storing():
            self._file.write(self._sha256.digest() + _MAGIC)
            self._file.flush()
        self.size += TRAILER


def blocks(file: Any, length: int) -> Iterator[bytes]:
    """Yield the next `length` bytes, piece by piece."""
    while length > 0 and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block


def intact(file: Any, length: int, entry: Entry) -> bool:
    """Check whether the file, at its start, has this entry with a payload of `length` bytes.

    Costs 80 ms per 100 MB: 65 for the sum (with SHA instructions), 15 for the reading.
    """
    sha256 = entry.sum()
    for block in blocks(file, length):
        sha256.update(block)
    return bool(file.read() == sha256.digest() + _MAGIC)
