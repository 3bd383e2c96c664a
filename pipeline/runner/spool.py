"""Byte strings of one clip, spooled: in memory while they are few, then in a file.

An hour of video has 100,000 images of 300 kB; what is known of them only at the end (whether
the file is sound, which face is the clip's) must not keep them in memory until then.
"""

from __future__ import annotations

import tempfile
from types import TracebackType

from arpgnet.pipeline.common.errors import UserError

# a clip of a few seconds never touches the disk
IN_MEMORY_BYTES = 32 << 20


class Spool:
    """An append-only list of byte strings, read by number. Close it, or use it in `with`.

    The file has no name (`TMPDIR` says where it lies) and goes when the process does.
    """

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory_bytes)  # noqa: SIM115
        self._ends = [0]

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, data: bytes) -> int:
        """Append `data`; return the number it is read by.

        Raises:
            UserError: the temporary folder is full or may not be written.
        """
        try:
            self._file.seek(self._ends[-1])
            self._file.write(data)
        except OSError as error:
            raise UserError(
                f"the temporary folder {tempfile.gettempdir()} cannot be written "
                f"({error.strerror}): free some space there, or set TMPDIR to another folder"
            ) from None
        self._ends.append(self._ends[-1] + len(data))
        return len(self) - 1

    def read(self, number: int) -> bytes:
        """Return what `append` stored under this number."""
        start, end = self._ends[number : number + 2]
        self._file.seek(start)
        return bytes(self._file.read(end - start))

    def close(self) -> None:
        """Forget everything."""
        self._file.close()
