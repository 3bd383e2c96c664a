"""Finding and overwriting fields in the headers of MP4, Matroska, AVI, GIF, PNG and H.264."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator


def put(data: bytes, at: int, value: bytes) -> bytes:
    """`data` with `value` written over what was at `at`; the length stays."""
    if not 0 <= at <= len(data) - len(value):
        raise ValueError(f"{len(value)} bytes at {at} lie outside of {len(data)}")
    return data[:at] + value + data[at + len(value) :]


def u32(number: int) -> bytes:
    """Big endian, as MP4 has it."""
    return struct.pack(">I", number)


def le32(number: int) -> bytes:
    """Little endian, as AVI has it."""
    return struct.pack("<I", number)


def box(data: bytes, path: str) -> int:
    """Where the payload of an MP4 box begins, e.g. `box(data, "moov/trak/mdia/mdhd")`.

    Raises:
        KeyError: no such box.
    """
    start, end = 0, len(data)
    for name in path.split("/"):
        for kind, inner, after in _boxes(data, start, end):
            if kind == name.encode():
                start, end = inner, after
                break
        else:
            raise KeyError(path)
    return start


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, at + length
        at += length


def element(data: bytes, *ids: int) -> tuple[int, int]:
    """Where the payload of a Matroska element begins and ends; `ids` from the top down.

    Raises:
        KeyError: no such element.
    """
    start, end = 0, len(data)
    for wanted in ids:
        at = start
        while at < end:
            found, at = _vint(data, at, marked=True)
            length, at = _vint(data, at, marked=False)
            if found == wanted:
                start, end = at, min(at + length, end)
                break
            at += length
        else:
            raise KeyError(hex(wanted))
    return start, end


def _vint(data: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """A number of variable length, with or without the bit that marks its length."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if marked else value & ((1 << 7 * length) - 1)), at + length


def chunk(data: bytes, name: bytes) -> int:
    """Where the payload of the first RIFF chunk of this name begins."""
    return data.index(name) + 8


def png_of(data: bytes, width: int, height: int) -> bytes:
    """The first PNG image in `data` claims another width and height, its checksum right."""
    at = data.index(b"IHDR")
    header = put(data[at : at + 17], 4, u32(width) + u32(height))
    return put(data, at, header + u32(zlib.crc32(header)))


def h264_parameters(width: int, height: int) -> bytes:
    """An `avcC` record, as MP4 keeps it: baseline H.264 of any size in steps of 16 pixels."""
    # profile 66, level 62; then frame_num and order count lengths, one reference
    sps = b"\x67\x42\x00\x3e" + _bits(
        [0, 0, 2, 1, None, width // 16 - 1, height // 16 - 1], tail="1" + "1" + "0" + "0"
    )
    pps = b"\x68\xce\x3c\x80"
    record = b"\x01" + sps[1:4] + b"\xff"
    for count, unit in ((0xE1, sps), (0x01, pps)):
        record += bytes([count]) + struct.pack(">H", len(unit)) + unit
    return record


def _bits(numbers: list[int | None], tail: str) -> bytes:
    """Exponential Golomb codes, a zero flag for each None, then `tail` and the stop bit."""
    text = ""
    for number in numbers:
        code = "0" if number is None else f"{number + 1:b}"
        text += code if number is None else "0" * (len(code) - 1) + code
    text += tail + "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
