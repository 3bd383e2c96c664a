"""Names as they are on disk: macOS decomposes accented letters, most tables compose them."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.spelling import quoted


class NamesOnDisk:
    """Finds files below a root under a name in another Unicode form; folders are listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """Return the name that the file has on disk.

        A name that exists as it is, or for which there is no other, is returned unchanged.

        Args:
            name: POSIX, relative to the root, or absolute.

        Raises:
            UserError: several files differ only by their Unicode form, and none has this name.
        """
        # ASCII has one form only
        if name.isascii() or _exists(self._root / name):
            return name
        here, found = self._root, PurePosixPath()
        for part in PurePosixPath(name).parts:
            chosen = part
            if not part.isascii() and not _exists(here / part):
                options = self._in(here).get(_composed(part), [])
                if not options:
                    return name
                if len(options) > 1:
                    raise UserError(
                        f"several files differ from {quoted(name)} only by their Unicode form "
                        f"({', '.join(map(quoted, options))}): rename all but one"
                    )
                chosen = options[0]
            here, found = here / chosen, found / chosen
        return found.as_posix()

    def _in(self, folder: Path) -> dict[str, list[str]]:
        """Return the names in a folder by their composed form."""
        if folder not in self._entries:
            try:
                names = [path.name for path in folder.iterdir()]
            except OSError:
                names = []
            table: dict[str, list[str]] = {}
            for name in sorted(names):
                table.setdefault(_composed(name), []).append(name)
            self._entries[folder] = table
        return self._entries[folder]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()
