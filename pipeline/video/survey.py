"""The truth about a video's frames: how many there are, when, and which are damaged."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.video.chunks import Chunks
from arpgnet.pipeline.video.container import (
    Frames,
    Upright,
    declared_duration,
    frame_rate,
    open_video,
)
from arpgnet.pipeline.video.display import Display, display_of
from arpgnet.pipeline.video.ending import ends_early

# called with each frame's number and the frame, whether it turns out to be sound or not
Watch = Callable[[int, Any], None]

# A frame shown before a damaged one may have been predicted from it. H.264 and HEVC reorder
# at most 16 frames.
REORDER = 16
# a later time in a recording that was joined is taken for its own up to here, as FFmpeg does
# (-dts_delta_threshold)
_GAP_S = 10.0
# a window's end this far beyond a frame's time still leaves the frame out
_TICK = 1e-6


@dataclass(frozen=True)
class Survey:
    """What decoding found.

    Shapes:
        times: [n] float64, seconds after the first frame, strictly increasing.

    `timed` is False when the file's timestamps are unusable and `times` are frame numbers
    over the frame rate. `frame_s` is the usual distance of frames. `whole` is True when nothing
    is damaged or missing, however long the file claims to be (see `Seen.whole`);
    `declared_s` matters only where it is False. A survey that was asked to stop
    at `end_s` says nothing of what comes after it; `to_end` is False then. `first` is the
    first image's `fingerprint`, `container` FFmpeg's name of the format. `display` is how the
    first image is shown; if all are shown in this way, the stream is `steady`.
    """

    times: np.ndarray
    timed: bool
    container: str
    codec: str
    first: int
    display: Display
    steady: bool
    declared_s: float | None
    frame_s: float
    whole: bool
    to_end: bool


def survey(path: Path, end_s: float | None = None, watch: Watch | None = None) -> Survey:
    """Decode the frames once, in order, keeping only their times.

    Whoever wants images may watch the frames go by instead of decoding them again.
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
        seen = _decode(path, container, stream, end_s, rate, timed, watch)
        declared = declared_duration(container, stream)
        name, codec = container.format.name, stream.codec_context.codec.canonical_name
    sound = _sound(seen)
    if not sound:
        if seen.corrupt is None:
            raise ClipError("no frame can be decoded")
        raise ClipError(f"damaged within its first {seen.corrupt + 1} frames")
    assert seen.display is not None  # as of every frame
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
        display=seen.display,
        steady=seen.steady,
        declared_s=declared,
        frame_s=_frame_seconds(times, rate),
        whole=seen.whole,
        to_end=not seen.stopped,
    )


def fingerprint(image: np.ndarray) -> int:
    """Return a checksum of an image's bytes."""
    return zlib.crc32(np.ascontiguousarray(image).data)


@dataclass
class Seen:
    """Timestamps (s) of all frames, how they are shown, and the first one that is damaged.

    `cut`: the file ended before the end that its own structure gives it. `joined`: the first
    frame of the recording that is read, if there are several in the file. `last`: the latest
    packet's time and duration, in ticks.
    """

    stamps: list[float | None]
    first: int = 0
    display: Display | None = None
    steady: bool = True
    corrupt: int | None = None
    failed: bool = False
    cut: bool = False
    stopped: bool = False
    joined: int = 0
    shift: float = 0.0
    last: tuple[float, int] = (-math.inf, 0)

    def add(self, at: float | None) -> None:
        """Note a frame's timestamp; recordings that were joined follow one another."""
        if self.joined and self.joined == len(self.stamps) and at is not None:
            self.shift = self._shift(at)
        self.stamps.append(None if at is None else at + self.shift)

    def _shift(self, at: float) -> float:
        """Return what is added to another recording's times: nothing if they go on."""
        known = [one for one in self.stamps if one is not None]
        if not known:
            return 0.0
        due = known[-1] + (float(np.median(np.diff(known))) if len(known) > 1 else 0.0)
        return 0.0 if known[-1] < at <= due + _GAP_S else due - at

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged or missing; decode and predict both go by this.

        A declared duration does not count: the last frame may be held, the sound be longer, or
        the video begin late.
        """
        return self.corrupt is None and not self.failed and not self.cut

    def damaged_at(self, number: int) -> None:
        """Mark damage from this frame on, if not from an earlier one."""
        if self.corrupt is None:
            self.corrupt = number


def _decode(
    path: Path,
    container: Any,
    stream: Any,
    end_s: float | None,
    rate: float | None,
    timed: bool,
    watch: Watch | None,
) -> Seen:
    seen = Seen([])
    for frame in walk(path, container, stream, seen, timed):
        shown = display_of(frame)
        if seen.display is None:
            seen.first, seen.display = fingerprint(Upright().image(frame)), shown
        seen.steady = seen.steady and shown == seen.display
        if watch is not None:
            watch(len(seen.stamps) - 1, frame)
        if end_s is not None and _elapsed(seen.stamps, rate, timed) > end_s + _TICK:
            seen.stopped = True
            break
    return seen


def walk(path: Path, container: Any, stream: Any, seen: Seen, timed: bool) -> Iterator[Any]:
    """Yield the frames of an open video in order, sound or not; `seen` counts each one.

    `timed`: the timestamps mean something.
    """
    rate = frame_rate(stream)
    reached_s = 0.0
    try:
        for frame in _frames(path, container, stream, seen):
            at = None if frame.pts is None else float(frame.pts * frame.time_base)
            seen.add(at)
            if frame.is_corrupt or _goes_back(seen.stamps, timed):
                seen.damaged_at(len(seen.stamps) - 1)
            usual_s = 1 / rate if rate else 0.0
            if timed and at is not None:
                # some decoders do not pass on how long a frame is shown
                ticks = max(frame.duration, seen.last[1] if seen.last[0] == frame.pts else 0)
                reached_s = at + (float(ticks * frame.time_base) or usual_s)
            else:
                reached_s = len(seen.stamps) * usual_s
            yield frame
        seen.cut = ends_early(path, container, stream, len(seen.stamps), reached_s)
    except (av.FFmpegError, OSError):
        seen.failed = True


def _frames(path: Path, container: Any, stream: Any, seen: Seen) -> Iterator[Any]:
    """Yield the frames in order; notes where the packets between them are damaged or missing."""
    chunks, frames = Chunks(path, container, stream), Frames(stream)
    for packet in container.demux(stream):
        if chunks.begins_at(packet):
            yield from frames.rest()
            seen.joined = len(seen.stamps)
        if chunks.broken_at(packet):
            # frames that are yet to come may lie before it: `REORDER` covers them
            seen.damaged_at(len(seen.stamps))
        if packet.pts is not None and packet.pts > seen.last[0]:
            seen.last = packet.pts, packet.duration or 0
        yield from frames.of(packet)


def _goes_back(stamps: list[float | None], timed: bool) -> bool:
    """Check whether the last frame is earlier than the one before, as in swapped parts."""
    if not timed or len(stamps) < 2:
        return False
    before, last = stamps[-2:]
    return before is not None and last is not None and last < before


def _elapsed(stamps: list[float | None], rate: float | None, timed: bool) -> float:
    """Return seconds between the first frame and the latest; -1 while that is unknown."""
    first, last = stamps[0], stamps[-1]
    if timed and first is not None and last is not None:
        return last - first
    return (len(stamps) - 1) / rate if rate else -1.0


def _sound(seen: Seen) -> int:
    """Return how many frames, from the first, are free of damage."""
    if seen.corrupt is None:
        return len(seen.stamps)
    return max(0, seen.corrupt - REORDER)


def _frame_seconds(times: np.ndarray, rate: float | None) -> float:
    """Return how long the last frame is shown: the usual distance of frames."""
    if len(times) > 1:
        return float(np.median(np.diff(times)))
    return 1.0 / rate if rate else 0.0
