"""Ways to damage a video, each with a name, all from a seed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from helpers.headers import box, chunk, le32, put, u32
from helpers.sources import Source

FLIPS = 14
SCRAMBLES = 5
CUTS = 8


@dataclass(frozen=True)
class Way:
    """A damaged file: from which source, what was done, and its bytes."""

    source: Source
    kind: str
    detail: str
    data: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.source.name}: {self.kind} {self.detail}"


def all_ways(sources: list[Source]) -> list[Way]:
    """Every way for every source, the undamaged ones first."""
    ways = [Way(source, "whole", "", source.data) for source in sources]
    for number, source in enumerate(sources):
        rng = np.random.default_rng(number)
        other = sources[(number + 5) % len(sources)]
        for part in (_flips, _scrambles, _cuts, _pieces):
            ways += [Way(source, *done) for done in part(source.data, rng)]
        ways += [Way(source, *done) for done in _swapped(source.data, other)]
        ways += [Way(source, *done) for done in _headers(source)]
    return ways


Done = tuple[str, str, bytes]


def _flips(data: bytes, rng: np.random.Generator) -> Iterator[Done]:
    """One byte becomes another; a third of them in the first and last 2 kB, where headers are."""
    for number in range(FLIPS):
        at = int(rng.integers(len(data)))
        if number % 3 == 0:
            at = int(rng.integers(min(2048, len(data))))
            at = at if number % 2 else len(data) - 1 - at
        value = data[at] ^ int(rng.integers(1, 256))
        yield "flip", f"{number}: byte {at}", put(data, at, bytes([value]))


def _scrambles(data: bytes, rng: np.random.Generator) -> Iterator[Done]:
    for length in np.geomspace(8, max(len(data) // 10, 16), SCRAMBLES).astype(int):
        at = int(rng.integers(len(data) - length))
        yield "scramble", f"{length} bytes at {at}", put(data, at, rng.bytes(int(length)))


def _cuts(data: bytes, rng: np.random.Generator) -> Iterator[Done]:
    """Truncation: in the header, at every region, and a byte before the end."""
    for part in np.linspace(0.02, 0.98, CUTS - 2):
        yield "cut", f"at {part:.0%}", data[: int(part * len(data))]
    yield "cut", "at 40 bytes", data[:40]
    yield "cut", "the last byte", data[:-1]


def _pieces(data: bytes, rng: np.random.Generator) -> Iterator[Done]:
    """Bytes that are missing, doubled, zero, or in another order."""
    length = len(data)
    at, piece = int(rng.integers(length // 4, length // 2)), max(length // 20, 1)
    yield "piece", "removed", data[:at] + data[at + piece :]
    yield "piece", "doubled", data[: at + piece] + data[at:]
    yield "piece", "zeros", put(data, at, bytes(piece))
    yield "piece", "halves swapped", data[length // 2 :] + data[: length // 2]
    yield "piece", "rubbish behind", data + rng.bytes(5000)
    yield "piece", "rubbish in front", rng.bytes(300) + data


def _swapped(data: bytes, other: Source) -> Iterator[Done]:
    """The beginning of another file."""
    for length in (16, 400):
        yield "header of", f"{other.name}, {length} bytes", other.data[:length] + data[length:]


def _headers(source: Source) -> Iterator[Done]:
    """Absurd dimensions, durations and counts."""
    data = source.data
    if source.suffix in (".mp4", ".mov"):
        yield from _mp4(data)
    elif source.suffix == ".avi":
        main = chunk(data, b"avih")
        yield "absurd", "width and height", put(data, main + 32, le32(65535) + le32(65535))
        yield "absurd", "2 billion frames", put(data, main + 16, le32(2**31 - 1))
        yield "absurd", "0 us a frame", put(data, main, le32(0))
        stream = chunk(data, b"strh")
        yield "absurd", "rate of 0", put(data, stream + 20, le32(0) + le32(0))
        yield "absurd", "rate of 1 frame a month", put(data, stream + 20, le32(2678400) + le32(1))
        yield "absurd", "picture", put(data, chunk(data, b"strf") + 4, le32(65520) + le32(65520))
    elif source.suffix == ".gif":
        yield "absurd", "screen", put(data, 6, struct.pack("<HH", 65535, 65535))
        yield "absurd", "screen of nothing", put(data, 6, bytes(4))
        first = data.index(b"\x2c")
        yield "absurd", "picture", put(data, first + 5, struct.pack("<HH", 65535, 65535))


def _mp4(data: bytes) -> Iterator[Done]:
    media = "moov/trak/mdia"
    header = box(data, f"{media}/mdhd")
    yield "absurd", "duration", put(data, header + 16, u32(2**32 - 2))
    yield "absurd", "timescale of 1", put(data, header + 12, u32(1))
    yield "absurd", "timescale of 0", put(data, header + 12, u32(0))
    table = f"{media}/minf/stbl"
    times = box(data, f"{table}/stts")
    yield "absurd", "a day between frames", put(data, times + 12, u32(2**31 - 1))
    yield "absurd", "no frames", put(data, times + 4, u32(0))
    sizes = box(data, f"{table}/stsz")
    yield "absurd", "a billion samples", put(data, sizes + 8, u32(10**9))
    yield "absurd", "no samples", put(data, sizes + 8, u32(0))
    yield "absurd", "first sample of 4 GB", put(data, sizes + 12, u32(2**32 - 1))
    description = box(data, f"{table}/stsd")
    yield "absurd", "65520 x 65520", put(data, description + 40, struct.pack(">HH", 65520, 65520))
