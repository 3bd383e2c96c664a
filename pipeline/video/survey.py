"""The truth about a video's frames: how many there are, when, and which are damaged."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.errors import ClipError
from pipeline.video.container import (
    declared_duration,
    frame_rate,
    open_video,
    upright_picture,
)

# A frame shown before a damaged one may have been predicted from it. H.264 and HEVC reorder
# at most 16 frames.
_REORDER = 16
# a window's end this far beyond a frame's time still leaves the frame out
_TICK = 1e-6


@dataclass(frozen=True)
class Survey:
    """What decoding found.

    Shapes:
        times: [n] float64, seconds after the first frame, strictly increasing.

    `timed` is False when the file's timestamps are unusable and `times` are frame numbers
    over the frame rate. `frame_s` is the usual distance of frames. `whole` is False when
    `times` ends before the file does, because of damage. A survey that was asked to stop
    at `end_s` says nothing of what comes after it; `to_end` is False then. `first` is the
    first picture's `fingerprint`, `container` FFmpeg's name of the format.
    """

    times: np.ndarray
    timed: bool
    container: str
    codec: str
    first: int
    declared_s: float | None
    frame_s: float
    whole: bool
    to_end: bool


def survey(path: Path, end_s: float | None = None) -> Survey:
    """Decode the frames once, in order, keeping only their times.

    Frames from the first damaged one on do not count, nor do the 16 before it.

    Raises:
        ClipError: the file is empty, not a video, has sound only, no frame decodes, or has
            neither timestamps nor a frame rate.
        UserError: the file is absent or may not be read.
    """
    with open_video(path) as (container, stream):
        rate = frame_rate(stream)
        # AVI has a fixed rate; the timestamps FFmpeg makes up for it are not in order
        timed = container.format.name != "avi"
        seen = _decode(container, stream, end_s, rate, timed)
        declared = declared_duration(container, stream)
        name, codec = container.format.name, stream.codec_context.codec.canonical_name
    sound = _sound(seen)
    if not sound:
        if seen.corrupt is None:
            raise ClipError("no frame can be decoded")
        raise ClipError(f"damaged within its first {seen.corrupt + 1} frames")
    raw = np.array([np.nan if at is None else at for at in seen.stamps[:sound]], dtype=np.float64)
    timed = timed and bool(np.isfinite(raw).all() and (np.diff(raw) > 0).all())
    if timed:
        times = raw - raw[0]
    elif rate:
        times = np.arange(sound) / rate
    else:
        raise ClipError("neither timestamps nor a frame rate")
    return Survey(
        times=times,
        timed=timed,
        container=name,
        codec=codec,
        first=seen.first,
        declared_s=declared,
        frame_s=_frame_seconds(times, rate),
        whole=sound == len(seen.stamps) and not seen.failed,
        to_end=not seen.stopped,
    )


def fingerprint(image: np.ndarray) -> int:
    """A checksum of a picture's bytes."""
    return zlib.crc32(np.ascontiguousarray(image).data)


@dataclass
class _Seen:
    """Timestamps (s) of all frames, and the first one that is flagged as corrupt."""

    stamps: list[float | None]
    first: int = 0
    corrupt: int | None = None
    failed: bool = False
    stopped: bool = False


def _decode(
    container: Any, stream: Any, end_s: float | None, rate: float | None, timed: bool
) -> _Seen:
    seen = _Seen([])
    try:
        for frame in container.decode(stream):
            at = None if frame.pts is None else float(frame.pts * frame.time_base)
            if not seen.stamps:
                seen.first = fingerprint(upright_picture(frame))
            seen.stamps.append(at)
            if frame.is_corrupt and seen.corrupt is None:
                seen.corrupt = len(seen.stamps) - 1
            if end_s is not None and _elapsed(seen.stamps, rate, timed) > end_s + _TICK:
                seen.stopped = True
                break
    except (av.FFmpegError, OSError):
        seen.failed = True
    return seen


def _elapsed(stamps: list[float | None], rate: float | None, timed: bool) -> float:
    """Seconds between the first frame and the latest; -1 while that is unknown."""
    first, last = stamps[0], stamps[-1]
    if timed and first is not None and last is not None:
        return last - first
    return (len(stamps) - 1) / rate if rate else -1.0


def _sound(seen: _Seen) -> int:
    """How many frames, from the first, are free of damage."""
    if seen.corrupt is None:
        return len(seen.stamps)
    return max(0, seen.corrupt - _REORDER)


def _frame_seconds(times: np.ndarray, rate: float | None) -> float:
    """How long the last frame is shown: the usual distance of frames."""
    if len(times) > 1:
        return float(np.median(np.diff(times)))
    return 1.0 / rate if rate else 0.0
