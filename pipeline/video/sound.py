"""The sound of a video beside new images: copied where MP4 may hold it, else encoded as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av

from arpgnet.pipeline.video.container import open_video

# what MP4 holds and browsers or usual players play
COPIED = frozenset({"aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"})
# sampling rates of AAC (ISO/IEC 14496-3, table 1.18), Hz
AAC_RATES = frozenset(
    {7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
)
AAC_BIT_RATE = 160_000


class Sound:
    """The first sound track, brought in pieces; nothing where there is none.

    Args:
        path: the video.
        output: the open container that it goes into.
        start_s: when the first image is shown, in the file's own time.
    """

    def __init__(self, path: Path, output: Any, start_s: float) -> None:
        self._output, self._start_s = output, start_s
        self._open = ExitStack()
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        self._last: int | None = None
        container, _ = self._open.enter_context(open_video(path))
        track = next(iter(container.streams.audio), None)
        if track is None or track.codec_context is None:
            return
        self._copy = track.codec_context.name in COPIED
        if self._copy:
            self._track = output.add_stream_from_template(track)
        else:
            rate = track.codec_context.sample_rate
            self._track = output.add_stream("aac", rate=rate if rate in AAC_RATES else 48000)
            self._track.codec_context.layout = "mono" if track.channels == 1 else "stereo"
            self._track.codec_context.bit_rate = AAC_BIT_RATE
        self._packets = _sound(container, track)

    def until(self, time_s: float) -> None:
        """Write all sound before a time after the first image; infinite: the rest."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            packet = self._waiting
            if packet is None or self._at(packet) >= time_s:
                return
            self._waiting = None
            if self._copy:
                self._pass_on(packet)
            else:
                self._encode(packet)

    def close(self) -> None:
        """Write what is left in the encoder."""
        if self._last is not None and not self._copy:
            self._output.mux(self._track.encode(None))
        self._open.close()

    def _at(self, packet: Any) -> float:
        return float(packet.dts * packet.time_base) - self._start_s

    def _pass_on(self, packet: Any) -> None:
        shift = round(self._start_s / packet.time_base)
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        # the container takes no packet that is not later than the one before
        if self._last is None or packet.dts > self._last:
            self._last = packet.dts
            packet.stream = self._track
            self._output.mux(packet)

    def _encode(self, packet: Any) -> None:
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError):
            return
        for frame in frames:
            if frame.pts is None:
                continue
            frame.pts -= round(self._start_s / frame.time_base)
            if self._last is None or frame.pts > self._last:
                self._last = frame.pts
                self._output.mux(self._track.encode(frame))


def _sound(container: Any, track: Any) -> Iterator[Any]:
    """Yield packets with a time; damage ends them."""
    try:
        for packet in container.demux(track):
            if packet.dts is not None and packet.size:
                yield packet
    except (av.FFmpegError, OSError):
        return
