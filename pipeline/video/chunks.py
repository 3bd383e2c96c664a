"""Whether a file's packets follow one another without a gap: what decoders do not look at.

A decoder is given packets and does not know what lay between them. In a container without times
(AVI) or with times that only add up (GIF), a frame that got lost would put all later ones in
another's place. Where recordings were joined, what looks like a gap is none (`joins.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from arpgnet.pipeline.video.joins import Joins

# `00dc` and the like: chunks of a stream
_OF_A_STREAM = re.compile(rb"[0-9]{2}[ -~]{2}")
_PLUMBING = re.compile(rb"JUNK|LIST|RIFF|idx1|ix[0-9]{2}|indx")
_LISTS = (b"LIST", b"RIFF")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


class Chunks:
    """Looks at the packets of a file's video stream in their order."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self._gif = container.format.name == "gif"
        self._whole = _whole_chunks(path, stream.index) if container.format.name == "avi" else None
        self._seen = 0
        self._path, self._pid = path, stream.id
        self._transport = container.format.name == "mpegts"
        self._joins: Joins | None = None
        self._last: int | None = None

    def begins_at(self, packet: Any) -> bool:
        """Check whether another recording begins with this packet."""
        if not self._transport or packet.dts is None:
            return False
        if packet.is_corrupt or (self._last is not None and packet.dts < self._last):
            # looked for where there is a reason only: it reads the whole file
            self._joins = self._joins or Joins(self._path, self._pid)
        self._last = packet.dts
        return self._joins is not None and self._joins.begins_at(packet.pos)

    def broken_at(self, packet: Any) -> bool:
        """Check whether this packet is not whole, or something is missing before it."""
        if not packet.size:
            return False  # the call for the decoder's last frames
        self._seen += 1
        if self._whole is not None and self._seen > self._whole:
            return True
        if packet.is_corrupt:
            return self._joins is None or not self._joins.only_marked(packet.pos)
        return self._gif and not _is_one_picture(bytes(packet))


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


def _is_one_picture(data: bytes) -> bool:
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
