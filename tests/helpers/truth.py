"""The verdict on what came out of a damaged video, against what the undamaged one shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from arpgnet.pipeline.video.frames import decode_jpeg
from helpers.sources import Source

# a row's time may differ from the truth by what Matroska and decord round to
TIME_S = 2e-3
# mean difference in gray levels of a block of 16 x 16 pixels: JPEG at quality 100 stays below 5
# on these videos, a block that was decoded wrongly is far above 10
BLOCK_PX = 16
SAME_BLOCK = 10.0


@dataclass(frozen=True)
class Row:
    """A row of the stage decode's output."""

    index: int
    time_s: float
    jpeg: bytes


@dataclass(frozen=True)
class Verdict:
    """What came out of one way to damage a video.

    `outcome` is one of:

    - right: every frame, at its time;
    - part: the same of the first frames only;
    - refused: quarantined, with `detail` as reason;
    - garbled: an image is visibly damaged, and nobody noticed;
    - lost: frames of the middle or the start are absent; those that are there have their times;
    - retimed: images and numbers are right, but times are others;
    - wrong: a frame stands in another's place.
    """

    outcome: str
    detail: str = ""


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images [H,W,3] are alike in every block."""
    if one.shape != other.shape:
        return False
    height, width = one.shape[:2]
    # in gray: JPEG keeps a fourth of the colors
    gray = (cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (one, other))
    difference = cv2.absdiff(*gray).astype(np.float32)
    blocks = max(1, width // BLOCK_PX), max(1, height // BLOCK_PX)
    return bool(cv2.resize(difference, blocks, interpolation=cv2.INTER_AREA).max() <= SAME_BLOCK)


def judge(source: Source, rows: Sequence[Row]) -> Verdict:
    """The verdict on a clip that was not refused; `rows` in order, at least one."""
    shown = [_shown(source, row) for row in rows]
    displaced = [
        found is not None and found != row.index and not _timed(source, rows, shown, row, found)
        for row, found in zip(rows, shown, strict=True)
    ]
    offsets = Counter(
        found - row.index
        for row, found, moved in zip(rows, shown, displaced, strict=True)
        if found is not None and moved
    )
    # a frame that got lost moves all later ones by as much; an image that a decoder made up from
    # its neighbors looks like one or another of them
    if offsets and max(offsets.values()) > len(rows[displaced.index(True) :]) / 2:
        first = displaced.index(True)
        row = rows[first]
        return Verdict("wrong", f"frame {shown[first]} at {row.index} ({row.time_s:.3f} s)")
    garbled = [
        row.index
        for row, found, moved in zip(rows, shown, displaced, strict=True)
        if found is None or moved
    ]
    if garbled:
        return Verdict("garbled", f"{len(garbled)} of {len(rows)} from {garbled[0]}")
    if any(found != row.index for row, found in zip(rows, shown, strict=True)):
        return Verdict("lost", f"{len(rows)} of {len(source.images)}")
    if any(abs(row.time_s - source.times[row.index]) > TIME_S for row in rows):
        return Verdict("retimed", f"last at {rows[-1].time_s:g} s")
    if [row.index for row in rows] != list(range(len(rows))):
        return Verdict("wrong", "frame numbers have gaps")
    if len(rows) < len(source.images):
        return Verdict("part", f"{len(rows)} of {len(source.images)}")
    return Verdict("right")


def _shown(source: Source, row: Row) -> int | None:
    """Which frame of the undamaged video a row shows; None when it is none of them."""
    image = decode_jpeg(row.jpeg)
    if row.index < len(source.images) and same(image, source.images[row.index]):
        return row.index
    return next((i for i, other in enumerate(source.images) if same(image, other)), None)


def _timed(
    source: Source, rows: Sequence[Row], shown: Sequence[int | None], row: Row, found: int
) -> bool:
    """Whether a frame of another number stands at its own time.

    A file whose first frames are gone begins later, and nobody can know; its times are then
    seconds after the first frame that is left.
    """
    first = shown[0] if shown[0] is not None else 0
    return any(
        abs(row.time_s - (source.times[found] - source.times[origin])) <= TIME_S
        for origin in (0, first)
    )
