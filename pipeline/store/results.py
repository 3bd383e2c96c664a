"""Store results by their content: each is computed once, whatever DVC deletes.

An entry is one file or object `<root>/<namespace>/<key[:2]>/<key>.<kind>`, see
`pipeline.store.entries`: a reader sees all of it or nothing, and a damaged entry counts as
missing and is deleted. Any number of processes may use one store at the same time.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from arpgnet.pipeline.common.files import replacing
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.store.address import Place, folder_of, store_place
from arpgnet.pipeline.store.backend import Backend, Removed
from arpgnet.pipeline.store.entries import DamagedError, Entry, Kind, blocks
from arpgnet.pipeline.store.local import Folder

# ms per 100 MB to write and to read, and the part left, of 90 % JPEG bytes: none 7, 1, 1.00;
# lz4 47, 14, 1.00; zstd 133, 25, 1.00. Of MobileFaceNet's maps in float16: none 8, 1, 1.00;
# lz4 149, 38, 0.72; zstd 267, 113, 0.60. Entries are read more often than written.
_COMPRESSION = "lz4"


@dataclass
class NamespaceStats:
    """The contents of one namespace (a stage)."""

    entries: int = 0
    failures: int = 0
    bytes: int = 0


class Store:
    """Finished per-clip results and training runs, found by key.

    Args:
        root: a folder, which is made on the first write, or an address on object storage;
            `store_place()` when absent. It is what other processes open the same store by.

    Every writing method raises UserError when the folder cannot be written or the disk is
    full; every reading method treats a damaged entry as missing and deletes it. On object
    storage, every method raises UserError when the service fails for good or for long.
    """

    def __init__(self, root: Place | None = None) -> None:
        self.root = root if root is not None else store_place()
        self._backend = _backend(self.root)

    def size(self, stage: str, key: str, kind: Kind = "table") -> int | None:
        """Return the bytes of an entry, or None; its checksum is looked at only on reading."""
        return self._backend.size(Entry(stage, key, kind))

    def has(self, stage: str, key: str, kind: Kind = "table") -> bool:
        """Check whether there is an entry; its checksum is looked at only on reading."""
        return self.size(stage, key, kind) is not None

    def get_table(self, stage: str, key: str) -> Iterator[pa.Table] | None:
        """Return the pieces of this key's table in their order, or None.

        The checksum has been verified before the first piece; one is in memory at a time.
        """
        found = self._open(stage, key, "table")
        return None if found is None else _pieces(found[0])

    def put_table(self, stage: str, key: str, pieces: Iterable[pa.Table]) -> int:
        """Store a table piece by piece as `pieces` are made; return the entry's bytes.

        When making one fails, that error comes out and the key keeps its previous entry.

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
                # one record batch per piece, however many chunks its columns have
                writer.write_table(piece.combine_chunks())
            if writer is None:
                raise ValueError(f"{stage}: a table has at least one piece")
        return int(sink.size)

    def get_failure(self, stage: str, key: str) -> str | None:
        """Return why this key cannot be computed, or None when that is not known."""
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
        with found[0], replacing(into) as fresh, fresh.open("wb") as file:
            file.writelines(blocks(*found))
        return True

    def put_file(self, stage: str, key: str, source: Path) -> None:
        """Store a copy of one file in place of the key's previous entry."""
        with self._writing(stage, key, "file") as sink, source.open("rb") as stream:
            shutil.copyfileobj(stream, sink, 1 << 20)

    def remove(self, stage: str, key: str, kind: Kind) -> None:
        """Forget one entry; nothing happens when there is none."""
        self._backend.remove(Entry(stage, key, kind))

    def stats(self) -> dict[str, NamespaceStats]:
        """Count entries, remembered failures and bytes of every namespace, by name."""
        namespaces: dict[str, NamespaceStats] = {}
        for entry, size in self._backend.entries():
            namespace = namespaces.setdefault(entry.namespace, NamespaceStats())
            namespace.entries += 1
            namespace.failures += entry.kind == "failure"
            namespace.bytes += size
        return dict(sorted(namespaces.items()))

    def local_files(self) -> dict[str, NamespaceStats]:
        """Count what lies beside the entries on this machine: the rendered demo, file checks.

        By the name in the store's folder, or with object storage in the user's cache folder.
        """
        found: dict[str, NamespaceStats] = {}
        root = folder_of(self.root)
        for path in root.rglob("*"):
            place = path.relative_to(root)
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                if path.is_file() and Entry.at(place.as_posix()) is None:
                    stats = found.setdefault(place.parts[0], NamespaceStats())
                    stats.entries += 1
                    stats.bytes += path.stat().st_size
        return dict(sorted(found.items()))

    def verify(self) -> list[Place]:
        """Read every entry, delete the damaged ones, and return where they were."""
        damaged = []
        entries = [entry for entry, _ in self._backend.entries()]
        with track(len(entries), "verify", "entries") as progress:
            for entry in entries:
                try:
                    self._backend.open(entry)[0].close()
                except DamagedError:
                    damaged.append(self._backend.place(entry))
                except FileNotFoundError:
                    pass  # another process removed it
                progress.advance()
        return damaged

    def gc(self, *, unused_days: float, dry_run: bool = False) -> Removed:
        """Delete entries that nobody read or wrote for `unused_days`, and dead temporary files.

        Raises:
            UserError: the store is on object storage, which does not know what was read.
        """
        return self._backend.gc(unused_days, dry_run)

    def sweep(self, stage: str) -> None:
        """Delete the temporary files that killed processes left in a namespace."""
        self._backend.sweep(stage)

    def _open(self, stage: str, key: str, kind: Kind) -> tuple[Any, int] | None:
        entry = Entry(stage, key, kind)
        try:
            found = self._backend.open(entry)
        except (FileNotFoundError, DamagedError):
            return None
        self._backend.used(entry)
        return found

    def _writing(self, stage: str, key: str, kind: Kind) -> contextlib.AbstractContextManager[Any]:
        return self._backend.writing(Entry(stage, key, kind))


def _backend(root: Place) -> Backend:
    if isinstance(root, Path):
        return Folder(root)
    from arpgnet.pipeline.store.remote import Bucket

    return Bucket(root)


def _pieces(file: pa.NativeFile) -> Iterator[pa.Table]:
    with file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])
