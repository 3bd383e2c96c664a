"""Images with the times, the colors and the sound of a video into an MP4 file, H.264 and 4:2:0.

The file is made under another name, and put in place when it is finished or removed after a fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from arpgnet.pipeline.common.files import partial, remove, writing_to
from arpgnet.pipeline.video.container import first_frame, open_video
from arpgnet.pipeline.video.sound import Sound

# 640 x 480, 30 frames per second: about 1 Mbit/s
QUALITY = {"preset": "veryfast", "crf": "20"}
# of the file, bytes
BUFFER = 1 << 20
# ticks of times that the source's own do not count: divisible by 24, 25, 30 and 30000/1001
TICKS = 90_000
# a source's ticks in a second that are taken over
FINE, FINEST = 1_000, 1_000_000
# the matrices of ITU-T H.273, table 4, that FFmpeg's converter knows; others are taken as 601,
# as the reading side does
MATRICES = {
    1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M, 9: Colorspace.BT2020,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """What the images themselves do not say.

    Attributes:
        start_s: the first frame's time in the file.
        tick: of the times.
        rate: frames per second, about.
        matrix, primaries, transfer: of its colors, numbers of ITU-T H.273.
    """

    start_s: float
    tick: Fraction
    rate: Fraction
    matrix: int
    primaries: int
    transfer: int


def source_of(path: Path) -> Source:
    """Read one frame.

    Raises:
        ClipError, UserError: as `open_video`; no frame decodes.
    """
    with open_video(path) as (container, stream):
        frame = first_frame(container.decode(stream))
        tick = stream.time_base
        if tick is None or not FINE <= 1 / tick <= FINEST:
            tick = Fraction(1, TICKS)
        start = 0.0 if frame.pts is None else float(frame.pts * frame.time_base)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Source(
            start,
            tick,
            rate,
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
        )


class Encoder:
    """An MP4 file that images are added to.

    Args:
        path: where it is in the end; what was there is replaced.
        video: whose times, colors and sound it has.
        width, height: of the images; of odd ones the last column or row is doubled.
        options: of libx264.

    Raises:
        UserError: the file cannot be written; nothing of it is left, and it takes no more images.
        ClipError: the video cannot be read.

    Attributes:
        failed: whether it was given up.
    """

    def __init__(
        self,
        path: Path,
        video: Path,
        width: int,
        height: int,
        options: Mapping[str, str] = QUALITY,
    ) -> None:
        self._path, self._source = path, source_of(video)
        self._odd = height % 2, width % 2
        self._converter = VideoReformatter()
        self._tick = -1
        self.failed = False
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            # a file of ours: FFmpeg takes some names for addresses, opens it with the first packet
            # only, and says nothing of a disk that is full when it is closed
            self._file = partial(path).open("wb", buffering=BUFFER)
        with self._writing():
            self._container: Any = av.open(self._file, "w", format="mp4")
            self._track = self._add_track(width + width % 2, height + height % 2, options)
            self._sound = Sound(video, self._container, self._source.start_s)

    def add(self, time_s: float, image: np.ndarray) -> None:
        """Add the next image, RGB uint8 [H, W, 3], at seconds after the first one."""
        if self.failed:
            return
        source = self._source
        even: Any = cv2.copyMakeBorder(
            image, 0, self._odd[0], 0, self._odd[1], cv2.BORDER_REPLICATE
        )
        frame = self._converter.reformat(
            av.VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            dst_colorspace=MATRICES.get(source.matrix, Colorspace.ITU601),
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        self._tick = max(self._tick + 1, round(time_s / source.tick))
        frame.pts, frame.time_base = self._tick, source.tick
        with self._writing():
            self._sound.until(time_s)
            self._container.mux(self._track.encode(frame))

    def close(self, sound_until_s: float = math.inf) -> None:
        """Finish the file and put it in place; without an image there is none."""
        if self.failed or self._tick < 0:
            self.discard()
            return
        with self._writing():
            self._sound.until(sound_until_s)
            self._container.mux(self._track.encode(None))
            self._sound.close()
            self._container.close()
            self._file.close()
            partial(self._path).replace(self._path)

    def discard(self) -> None:
        """Give the file up and remove it: a part of it would take the room of the next one."""
        self.failed = True
        with suppress(OSError):
            # first: PyAV leaves a closed file as it is, and would write its end into an open one
            self._file.close()
        remove(partial(self._path))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing_to(self._path.parent):
            try:
                yield
            except BaseException:
                self.discard()
                raise

    def _add_track(self, width: int, height: int, options: Mapping[str, str]) -> Any:
        source = self._source
        track = self._container.add_stream("libx264", rate=source.rate, options=dict(options))
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        context = track.codec_context
        context.time_base = source.tick
        context.sample_aspect_ratio = Fraction(1)
        context.color_range = ColorRange.MPEG
        context.colorspace = source.matrix
        context.color_primaries, context.color_trc = source.primaries, source.transfer
        return track
