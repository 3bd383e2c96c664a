"""What FFmpeg does not pass on of an MP4 or QuickTime file's header.

Source: ISO/IEC 14496-12: boxes of a length, a name and content.
"""

from __future__ import annotations

from pathlib import Path

# larger ones are no header but a damaged length
_MOST_BYTES = 1 << 28
# after its name: version, count, then the first entry's length, name and 24 bytes
_SIZE_AT = 44


def described_sizes(path: Path) -> list[tuple[int, int]]:
    """Return the widths and heights that the sample descriptions of a file's tracks state."""
    header = _content(path, b"moov")
    sizes = []
    at = header.find(b"stsd")
    while at >= 0:
        place = header[at + _SIZE_AT : at + _SIZE_AT + 4]
        sizes.append((int.from_bytes(place[:2], "big"), int.from_bytes(place[2:], "big")))
        at = header.find(b"stsd", at + 4)
    return sizes


def _content(path: Path, wanted: bytes) -> bytes:
    """Return the content of the first box of this name at the top; empty if there is none."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        at = 0
        while at + 16 <= end:
            file.seek(at)
            head = file.read(16)
            length, used = int.from_bytes(head[:4], "big"), 8
            if length == 1:
                length, used = int.from_bytes(head[8:], "big"), 16
            # 0: to the end of the file
            length = length or end - at
            if length < used:
                break
            if head[4:8] == wanted:
                file.seek(at + used)
                return file.read(min(length - used, _MOST_BYTES))
            at += length
    return b""
