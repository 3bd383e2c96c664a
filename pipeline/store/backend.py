"""The interface of a store's backend: a folder, or object storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from arpgnet.pipeline.store.address import Place
from arpgnet.pipeline.store.entries import Entry, Sink


@dataclass(frozen=True)
class Removed:
    """What `Store.gc` removed, or would remove."""

    entries: int
    bytes: int


class Backend(Protocol):
    """Entries by name. Any number of processes may use one at the same time.

    A reader sees all of an entry or nothing. Every method raises UserError for what the user
    can fix.
    """

    def place(self, entry: Entry) -> Place:
        """Return where the entry lies, or would lie."""

    def size(self, entry: Entry) -> int | None:
        """Return the entry's bytes, or None where there is none; its checksum is not verified."""

    def open(self, entry: Entry) -> tuple[Any, int]:
        """Open the entry; return the file, at its start, and the payload's length in bytes.

        What is read later comes from the bytes that were checked, whoever replaces the entry
        meanwhile.

        Raises:
            FileNotFoundError: there is none.
            DamagedError: it was.
        """

    def used(self, entry: Entry) -> None:
        """Note that the entry has been read: `gc` lets it live longer."""

    def writing(self, entry: Entry) -> AbstractContextManager[Sink]:
        """Open a sink for the entry, which is replaced when the block ends without an error."""

    def remove(self, entry: Entry) -> None:
        """Forget it; nothing happens when there is none."""

    def entries(self) -> Iterator[tuple[Entry, int]]:
        """Yield all entries and their bytes, in the order of their paths."""

    def gc(self, unused_days: float, dry_run: bool) -> Removed:
        """Delete what nobody used for so long, and what killed processes left."""

    def sweep(self, namespace: str) -> None:
        """Delete what killed processes left in a namespace."""
