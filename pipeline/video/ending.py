"""Whether a file's end is missing: a duration that is longer than its frames does not tell.

It is that of the longest stream, or the last frame is held for seconds, and then there is a packet
that ends there. A file that was cut has none, and is shorter than its own structure says.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import av

from arpgnet.pipeline.video.chunks import unbroken
from arpgnet.pipeline.video.container import declared_duration, open_file

# what a header may be looked for in
_HEAD_BYTES = 4096
# header, its length, an id: then the file's bytes (ASF Specification 01.20.05, 3.2)
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SEGMENT = bytes.fromhex("18538067")
# a number behind its name, AMF 0
_FLV_BYTES = re.compile(rb"filesize\x00(.{8})", re.DOTALL)
# their duration is found by FFmpeg at the end that the file has, and promises nothing
_MEASURED = frozenset({"mpegts", "mpeg", "ogg", "gif", "apng", "dv"})
# `Chunks` follows what lies between their packets (AVI), or nothing but packets does; and FFmpeg's
# ASF counts a late start twice
_IN_ORDER = frozenset({"avi", "asf"})
# a duration is that of the last packet's end, rounded, and some streams end a little earlier
_NEAR_END_S = 0.1
_LEAST_PART = 0.5


def ends_early(path: Path, container: Any, stream: Any, frames: int, reached_s: float) -> bool:
    """Check whether packets that belong to an open file's end are absent.

    A last frame near the declared end, or sound there, shows that nothing is; so does a gapless
    structure. Without one, a file that is no shorter than it says must get half as far at least: a
    demuxer that lost its way tells nobody.

    Args:
        frames: how many there are.
        reached_s: where the last frame of the video ends, by the file's clock.
    """
    name, length = container.format.name, path.stat().st_size
    if name.startswith("mov,"):
        # of a fragmented file, those of the fragments that are there
        if max((one.pos + one.size for one in stream.index_entries), default=0) > length:
            return True
        if frames == stream.frames:
            return False
    elif name in _MEASURED:
        return False
    size = _SIZES[name](_head(path)) if name in _SIZES else 0
    # one byte less: padding that some writers count and do not write
    shorter = size - 1 > length
    if size and not shorter and name in _IN_ORDER:
        return False
    declared = declared_duration(container, stream)
    if declared is None:
        return shorter
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    least = start + (declared - _NEAR_END_S if shorter else declared * _LEAST_PART)
    if reached_s >= least or _other_reaches(path, stream.index, least):
        return False
    return not unbroken(path, name)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _other_reaches(path: Path, video: int, least: float) -> bool:
    """Check whether a packet of another stream ends at this time or later."""
    with open_file(path) as container:
        try:
            return any(
                _end_s(packet) >= least
                for packet in container.demux()
                if packet.stream.index != video
            )
        except (av.FFmpegError, OSError):
            return False


def _end_s(packet: Any) -> float:
    """Return when what a packet holds ends, by the file's clock; -inf where it does not say."""
    at = packet.dts if packet.pts is None else packet.pts
    if at is None or packet.time_base is None:
        return -math.inf
    return float((at + (packet.duration or 0)) * packet.time_base)


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
