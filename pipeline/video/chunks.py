"""Whether a file's packets follow one another without a gap: what decoders do not look at.

A decoder is given packets and does not know what lay between them. In a container without times
(AVI) or with times that only add up (GIF), a frame that got lost would put all later ones in
another's place. Where recordings were joined, what looks like a gap is none (`joins.py`).
"""

from __future__ import annotations

import contextlib
import mmap
import re
from pathlib import Path
from typing import Any

from arpgnet.pipeline.video.joins import Joins

# `00dc` and the like: chunks of a stream
_OF_A_STREAM = re.compile(rb"[0-9]{2}[ -~]{2}")
_PLUMBING = re.compile(rb"JUNK|LIST|RIFF|idx1|ix[0-9]{2}|indx")
_LISTS = (b"LIST", b"RIFF")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_VOID = {0xEC, 0xBF}
_IN_SEGMENT = _VOID | {
    0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
}  # fmt: skip
_IN_CLUSTER = _VOID | {0xE7, 0xA7, 0xAB, 0x5854, 0xA3, 0xA0, 0xAF}


class Chunks:
    """Looks at the packets of a file's video stream in their order."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self._gif = container.format.name == "gif"
        self._whole = _whole_chunks(path, stream.index) if container.format.name == "avi" else None
        self._seen = 0
        self._path, self._pid = path, stream.id
        self._transport = container.format.name == "mpegts"
        self._matroska = container.format.name == "matroska,webm"
        self._joins: Joins | None = None
        self._last: int | None = None
        self._at = 0

    def begins_at(self, packet: Any) -> bool:
        """Check whether another recording begins with this packet."""
        if packet.dts is None or not (self._transport or self._matroska):
            return False
        if self._matroska:
            return self._next_segment(packet)
        odd = packet.is_corrupt or (self._last is not None and packet.dts < self._last)
        if odd and self._joins is None:
            # not without a reason: it reads the whole file
            self._joins = Joins(self._path, self._pid)
        self._last = packet.dts
        return self._joins is not None and self._joins.begins_at(packet.pos)

    def _next_segment(self, packet: Any) -> bool:
        """Check whether a packet with an earlier time lies in another Matroska file, behind the
        end of the one before it."""
        earlier = self._last is not None and packet.dts < self._last
        before, self._last = self._at, packet.dts
        self._at = max(self._at, packet.pos or 0)
        return earlier and any(before < end <= self._at for end in _matroska_ends(self._path))

    def left_out(self) -> bool:
        """Check whether nothing came of a Matroska file that was joined: FFmpeg reads two."""
        return self._matroska and any(end > self._at for end in _matroska_ends(self._path))

    def broken_at(self, packet: Any) -> bool:
        """Check whether this packet is not whole, or something is missing before it."""
        if not packet.size:
            return False  # the call for the decoder's last frames
        self._seen += 1
        if self._whole is not None and self._seen > self._whole:
            return True
        if packet.is_corrupt:
            return self._joins is None or not self._joins.only_marked(packet.pos)
        return self._gif and not _is_one_image(bytes(packet))


def _whole_chunks(path: Path, stream: int) -> int:
    """Return how many images of an AVI lie in an unbroken row of chunks from its beginning on.

    Chunks of no bytes, which repeat the image before, are no images. Source: OpenDML AVI File
    Format Extensions 1.02, 1996; RIFF: a name, a length, so many bytes, and one more to be even.
    """
    images = 0
    started = False
    with path.open("rb") as file:
        end = file.seek(0, 2)
        at = 0
        while at + 8 <= end:
            file.seek(at)
            head = file.read(12)
            name, length = head[:4], int.from_bytes(head[4:8], "little")
            if name in _LISTS and head[8:12] in (b"AVI ", b"AVIX", b"movi", b"rec "):
                started = started or head[8:12] == b"movi"
                at += 12  # and on inside
                continue
            known = _OF_A_STREAM.fullmatch(name) or _PLUMBING.fullmatch(name)
            if started and (not known or at + 8 + length > end):
                break
            if started and name[:2] == b"%02d" % stream and length:
                images += 1
            at += 8 + length + length % 2
    return images


def _is_one_image(data: bytes) -> bool:
    """Check whether the bytes are whole GIF blocks, one image among them.

    Source: Graphics Interchange Format, version 89a, CompuServe 1990, sections 15 to 27.
    """
    images = 0
    try:
        at = _after_header(data) if data[:3] == b"GIF" else 0
        while at < len(data):
            kind = data[at]
            if kind == _EXTENSION:
                at = _after_blocks(data, at + 2)
            elif kind == _IMAGE:
                images += 1
                flags = data[at + 9]
                at = _after_blocks(data, at + 10 + _table_bytes(flags) + 1)
            elif kind == _TRAILER:
                at += 1
            else:
                return False
    except IndexError:
        return False
    return images == 1 and at == len(data)


def _after_header(data: bytes) -> int:
    return 13 + _table_bytes(data[10])


def _table_bytes(flags: int) -> int:
    """Return the bytes of the color table that the flags promise."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Skip a row of blocks, each with its length in front; one of no length ends it."""
    while data[at]:
        at += data[at] + 1
    return at + 1


def unbroken(path: Path, container: str) -> bool:
    """Check whether a Matroska or FLV file is a gapless row of known parts to its end.

    It has then all that was written, whatever its header says of its duration. False: it is not,
    or it is of another kind.
    """
    walk = {"matroska,webm": _unbroken_matroska, "flv": _unbroken_flv}.get(container)
    if walk is None:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return walk(data)
        except IndexError:
            return False


def _unbroken_matroska(data: mmap.mmap) -> bool:
    """Source: RFC 8794, RFC 9559: elements of an id, a length and so many bytes."""
    name, at, end = _element(data, 0)
    if name != _EBML:
        return False
    name, at, end = _element(data, end)
    if name != _SEGMENT or end != len(data):
        return False
    while at < end:
        name, at, after = _element(data, at)
        if after > end or name not in _IN_SEGMENT:
            return False
        if name == _CLUSTER:
            while at < after:
                name, _, at = _element(data, at)
                if at > after or name not in _IN_CLUSTER:
                    return False
        at = after
    return True


def _matroska_ends(path: Path) -> list[int]:
    """Return where whole files end that were joined (`cat a.mkv b.mkv`)."""
    found: list[int] = []
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        contextlib.suppress(IndexError),
    ):
        _, _, at = _element(data, 0)
        while True:
            _, _, end = _element(data, at)
            name, _, at = _element(data, end)
            if name != _EBML:
                break
            found.append(end)
    return found


def _element(data: mmap.mmap, at: int) -> tuple[int, int, int]:
    """Return an element's id, and where its content begins and ends."""
    for length in (4, 8):
        size = 9 - data[at].bit_length()
        if size > length or at + size > len(data):
            raise IndexError
        value = int.from_bytes(data[at : at + size], "big")
        at += size
        if length == 4:
            name = value
    return name, at, at + value - (1 << 7 * size)


def _unbroken_flv(data: mmap.mmap) -> bool:
    """Source: Adobe Flash Video File Format 10.1, E.3: each tag is followed by its length."""
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= len(data):
        length = 11 + int.from_bytes(data[at + 1 : at + 4], "big")
        follows = int.from_bytes(data[at + length : at + length + 4], "big")
        # the first bits of the kind mark encryption
        if data[at] & 0x1F not in (8, 9, 18) or follows != length:
            return False
        at += length + 4
    return at == len(data)
