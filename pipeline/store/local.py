"""The store in a folder, of this machine or of a shared file system.

An entry is written to a temporary file in its own folder, synced and renamed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import writing_to
from arpgnet.pipeline.store.address import STORE_VARIABLE
from arpgnet.pipeline.store.backend import Removed
from arpgnet.pipeline.store.entries import TRAILER, DamagedError, Entry, Sink, intact

TEMPORARY = "tmp-"
# a temporary file this old belongs to a process that was killed
_TEMPORARY_LIFE_S = 24 * 3600
_ADVICE = f"free some space, or set {STORE_VARIABLE} to a folder you may write (absolute)"


class Folder:
    """See `pipeline.store.backend.Backend`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, entry: Entry) -> Path:
        return self._root / entry.path

    def size(self, entry: Entry) -> int | None:
        try:
            status = self.place(entry).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open(self, entry: Entry) -> tuple[pa.NativeFile, int]:
        path = self.place(entry)
        with self._storing():
            file = pa.OSFile(os.fsencode(path), "rb")
        length = file.size() - TRAILER
        if not intact(file, length, entry):
            file.close()
            path.unlink(missing_ok=True)
            raise DamagedError(path)
        file.seek(0)
        return file, length

    def used(self, entry: Entry) -> None:
        # gc goes by the time of the last use
        with contextlib.suppress(OSError):
            os.utime(self.place(entry))

    @contextmanager
    def writing(self, entry: Entry) -> Iterator[Sink]:
        path = self.place(entry)
        try:
            with self._storing():
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        except FileNotFoundError as error:  # a place like /proc, where nothing can be made
            raise UserError(
                f"{self._root} cannot be written ({error.strerror}): {_ADVICE}"
            ) from None
        temporary = Path(name)
        file = os.fdopen(handle, "wb")
        try:
            sink = Sink(file, entry, self._storing)
            yield sink
            sink.seal()
            with self._storing():
                os.fsync(file.fileno())
                temporary.replace(path)
        finally:
            # what is sealed is on the disk; of the rest nothing is wanted, a full disk's word
            # neither
            with contextlib.suppress(OSError):
                file.close()
            temporary.unlink(missing_ok=True)

    def remove(self, entry: Entry) -> None:
        self.place(entry).unlink(missing_ok=True)

    def entries(self) -> Iterator[tuple[Entry, int]]:
        for path, status in self._files():
            entry = self._entry(path)
            if entry is not None:
                yield entry, status.st_size

    def gc(self, unused_days: float, dry_run: bool) -> Removed:
        now = time.time()
        entries = size = 0
        for path, status in self._files():
            is_entry, age = self._entry(path) is not None, now - status.st_mtime
            if (is_entry and age >= unused_days * 86400) or _is_abandoned(path, age):
                entries, size = entries + is_entry, size + status.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
        return Removed(entries, size)

    def sweep(self, namespace: str) -> None:
        """Delete temporary files: 30 ms in 20,000 entries; a clip of an hour leaves gigabytes."""
        now = time.time()
        for path in self._root.glob(f"{namespace}/*/{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if _is_abandoned(path, now - path.stat().st_mtime):
                    path.unlink()

    def _entry(self, path: Path) -> Entry | None:
        return Entry.at(path.relative_to(self._root).as_posix())

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in sorted(self._root.glob("*/*/*")):
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def _storing(self) -> contextlib.AbstractContextManager[None]:
        """Explain faults of the store's own files, with the store's remedy."""
        return writing_to(self._root, _ADVICE)


def _is_abandoned(path: Path, age_s: float) -> bool:
    return path.name.startswith(TEMPORARY) and age_s > _TEMPORARY_LIFE_S
