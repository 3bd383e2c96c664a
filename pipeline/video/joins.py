"""Where recordings were joined in an MPEG transport stream: `cat a.ts b.ts` makes a legal file.

The counters of packets and the clock begin anew there, which looks like damage. It is a join if
all packets are in step, the file begins as a recording does, with the table of programs and then
an image that needs no other, and so does what follows: with an earlier time, or with all counters
at zero. Source: ISO/IEC 13818-1, 2.4.3.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

_SYNC = 0x47
# plain, with a time in front (M2TS), with a checksum behind
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
# the mark of a damaged packet lies on one of so many images before the place
_MARKED = 2
# a clock of 33 bits that is full begins anew: that is no earlier time
_HALF_CLOCK = 1 << 32


class Joins:
    """The joins of a file, and which of its packets are marked as damaged for one only.

    Args:
        path: a transport stream.
        pid: of its video.
    """

    def __init__(self, path: Path, pid: int) -> None:
        # all by the number of the packet
        self._size = 1
        self._at: set[int] = set()
        self._images = self._lost = np.empty(0, np.int64)
        packets = _read(path)
        if packets is None:
            return
        self._size = packets.strides[0]
        ids = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
        # those with a payload count
        video = np.flatnonzero((ids == pid) & (packets[:, 3] & 0x10 > 0))
        if not len(video):
            return
        counter = packets[video, 3] & 0x0F
        step = (counter[1:] - counter[:-1]) % 16
        # 0: a packet may be sent twice
        broken = np.concatenate([[False], step > 1])
        tables = np.flatnonzero(ids == 0)
        image = packets[video, 1] & 0x40 > 0
        led = np.diff(np.searchsorted(tables, video), prepend=0) > 0
        begins = image & led & _needs_no_other(packets[video])
        images = np.flatnonzero(image)
        joined = []
        if len(images) and begins[images[0]]:
            for before, here in itertools.pairwise(images):
                if not begins[here]:
                    continue
                table = tables[np.searchsorted(tables, video[here]) - 1]
                anew = counter[here] == 0 and packets[table, 3] & 0x0F == 0
                if (broken[here] and anew) or _earlier(
                    packets[video[here]], packets[video[before]]
                ):
                    joined.append(here)
        broken[joined] = False
        self._at = set(video[joined].tolist())
        self._images, self._lost = video[image], video[broken]

    def begins_at(self, position: int | None) -> bool:
        """Check whether the image at this position of the file is the first after a join."""
        return position is not None and position // self._size in self._at

    def only_marked(self, position: int | None) -> bool:
        """Check whether a packet is whole, and marked as damaged for the join behind it only."""
        if position is None:
            return False
        here = position // self._size
        at = int(np.searchsorted(self._images, here, "right"))
        joins = [one for one in self._images[at : at + _MARKED].tolist() if one in self._at]
        return bool(joins) and not ((self._lost >= here) & (self._lost < joins[0])).any()


def _read(path: Path) -> np.ndarray | None:
    """Return the packets [n, bytes] from their sync byte on.

    None where they are not all in step: something is missing between them.
    """
    data = np.memmap(path, np.uint8, "r")
    for size, before in _LAYOUTS:
        count = len(data) // size
        packets = data[: count * size].reshape(count, size)[:, before:]
        if count and (packets[:, 0] == _SYNC).all():
            return packets
    return None


def _needs_no_other(packets: np.ndarray) -> np.ndarray:
    """Check for each packet whether its head says that decoding may begin with it."""
    has_head = (packets[:, 3] & 0x20 > 0) & (packets[:, 4] > 0)
    return has_head & (packets[:, 5] & 0x40 > 0)


def _earlier(packet: np.ndarray, before: np.ndarray) -> bool:
    """Check whether an image's time is before that of another."""
    time, other = _time(packet), _time(before)
    return time is not None and other is not None and 0 < other - time < _HALF_CLOCK


def _time(packet: np.ndarray) -> int | None:
    """Return when a packet's image is shown, in 1/90000 s; None where it does not say."""
    at = 4 + (1 + int(packet[4]) if packet[3] & 0x20 else 0)
    head = packet[at : at + 14].tolist()
    if len(head) < 14 or head[:3] != [0, 0, 1] or not head[7] & 0x80:
        return None
    a, b, c, d, e = head[9:14]
    return (a & 0x0E) << 29 | b << 22 | (c & 0xFE) << 14 | d << 7 | e >> 1
