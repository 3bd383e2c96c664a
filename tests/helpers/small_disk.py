"""A folder that behaves like a disk of few bytes: what does not fit raises ENOSPC."""

import errno
import io
from pathlib import Path
from typing import Any

import pytest


class SmallDisk:
    """Files that Python opens for writing below `folder` have `size` bytes altogether."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def mount(self, patch: pytest.MonkeyPatch) -> None:
        """Until the test ends."""
        plain = Path.open

        def opened(
            path: Path, mode: str = "r", buffering: int = -1, *more: Any, **named: Any
        ) -> Any:
            if mode not in ("wb", "xb") or not path.is_relative_to(self.folder):
                return plain(path, mode, buffering, *more, **named)
            raw = _Raw(self, path, mode)
            return raw if not buffering else io.BufferedWriter(raw, max(buffering, 8192))

        patch.setattr(Path, "open", opened)


class _Raw(io.FileIO):
    def __init__(self, disk: SmallDisk, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        room = self._disk.size - self._disk.used()
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        # as a disk: what fits is written
        return super().write(memoryview(data)[:room])
