"""Whether a file's end is missing, from its structure: a declared duration does not tell.

Durations are those of the longest stream, or hold the last frame for seconds. A file that was cut
is shorter than its own structure says; one whose video ends early by intention is not.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import av

from arpgnet.pipeline.video.container import open_file

# what a header may be looked for in
_HEAD_BYTES = 4096
# header, its length, an id: then the file's bytes (ASF Specification 01.20.05, 3.2)
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SEGMENT = bytes.fromhex("18538067")
# a number behind its name, AMF 0
_FLV_BYTES = re.compile(rb"filesize\x00(.{8})", re.DOTALL)
# their duration is found by FFmpeg at the end that the file has, and promises nothing
_MEASURED = frozenset({"mpegts", "mpeg", "ogg", "gif", "apng", "dv"})
# a duration is that of the last packet's end, rounded, and some streams end a little earlier
_NEAR_END_S = 0.5


def ends_early(path: Path, container: Any, stream: Any) -> bool:
    """Check whether packets that belong to an open file's end are absent.

    A file that is shorter than its structure says may lack an index only, and some formats have no
    length: then a packet of any stream near the declared end shows that nothing is missing.
    """
    name, length = container.format.name, path.stat().st_size
    if name.startswith("mov,"):
        # of a fragmented file, those of the fragments that are there
        return max((one.pos + one.size for one in stream.index_entries), default=0) > length
    if name in _MEASURED:
        return False
    if name in _SIZES:
        with path.open("rb") as file:
            # one byte less: padding that some writers count and do not write
            if _SIZES[name](file.read(_HEAD_BYTES)) - 1 <= length:
                return False
    return _stops_before(path, container)


def _riff_bytes(head: bytes) -> int:
    """Return how long an AVI is, at least; 0 where it was not finished."""
    length = int.from_bytes(head[4:8], "little")
    return 8 + length if length < 2**32 - 1 else 0


def _matroska_bytes(head: bytes) -> int:
    """Return where the segment ends; 0 where it was streamed.

    Source: RFC 8794, 4: the first bit that is set in a length tells how many bytes it has.
    """
    at = head.find(_SEGMENT) + len(_SEGMENT)
    if at < len(_SEGMENT) or at >= len(head) or not head[at]:
        return 0
    size = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + size], "big") - (1 << 7 * size)
    unknown = value == (1 << 7 * size) - 1
    return 0 if unknown else at + size + value


def _flv_bytes(head: bytes) -> int:
    found = _FLV_BYTES.search(head)
    value = struct.unpack(">d", found[1])[0] if found else 0.0
    return int(value) if 0 < value < 2**53 else 0


def _asf_bytes(head: bytes) -> int:
    at = head.find(_ASF_FILE)
    return int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0


_SIZES = {
    "avi": _riff_bytes,
    "matroska,webm": _matroska_bytes,
    "flv": _flv_bytes,
    "asf": _asf_bytes,
}


def _stops_before(path: Path, container: Any) -> bool:
    """Check whether no stream has a packet near the end that the file declares."""
    if not container.duration:
        return container.format.name in _SIZES
    start = container.start_time or 0
    end = (start + container.duration) / av.time_base - _NEAR_END_S
    with open_file(path) as again:
        try:
            for packet in again.demux():
                if packet.pts is None or packet.time_base is None:
                    continue
                if float((packet.pts + (packet.duration or 0)) * packet.time_base) >= end:
                    return False
        except (av.FFmpegError, OSError):
            pass
    return True
