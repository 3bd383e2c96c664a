"""Of several video streams, the one that a player shows."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.container import probe
from arpgnet.pipeline.video.stream import plan, stream
from helpers.made_videos import make_image

FRAMES = 10
NONE, DEFAULT = Disposition(0), Disposition.default


def write(path: Path, *streams: tuple[int, int, Disposition], codec: str = "mpeg4") -> Path:
    """A video with a stream for each (width, frames, disposition), 4:3."""
    with av.open(str(path), "w") as container:
        packets: list[Any] = []
        for width, frames, disposition in streams:
            one = container.add_stream(codec, rate=25)
            one.width, one.height, one.pix_fmt = width, width * 3 // 4, "yuv420p"
            one.disposition = disposition
            for number in range(frames):
                image = make_image(number, width, width * 3 // 4)
                packets += one.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
            packets += one.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "mov"])
def test_a_thumbnail_is_not_what_is_shown(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", (64, FRAMES, NONE), (320, FRAMES, NONE))
    assert probe(path).width == 320
    shown = list(stream(path, plan(path)))
    assert [one.image.shape[1] for one in shown] == [320] * FRAMES
    kept = list(sample_frames(path, DecodeParams(sampling="all")))
    assert [one.width for one in kept] == [320] * FRAMES


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("streams", "width"),
    [
        # the mark decides, then the size, then the order
        (((320, FRAMES, NONE), (240, FRAMES, DEFAULT)), 240),
        (((240, FRAMES, DEFAULT), (320, FRAMES, DEFAULT)), 320),
        (((240, FRAMES, NONE), (240, FRAMES, DEFAULT)), 240),
        # muxers mark the first one where nobody chose
        (((64, FRAMES, DEFAULT), (320, FRAMES, NONE)), 320),
        # a poster
        (((640, 1, DEFAULT), (320, FRAMES, NONE)), 320),
    ],
)
def test_which_stream(
    tmp_path: Path, suffix: str, streams: tuple[tuple[int, int, Disposition], ...], width: int
) -> None:
    assert probe(write(tmp_path / f"a.{suffix}", *streams)).width == width


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    """In front of a video it is passed over; alone it is not taken for one."""
    film = write(tmp_path / "film.mp4", (320, FRAMES, NONE))
    for name, with_film in (("a.mp4", True), ("b.mp4", False)):
        path = tmp_path / name
        add_cover(path, film if with_film else None)
        if with_film:
            assert probe(path).width == 320
        else:
            with pytest.raises(ClipError, match=r"sound only|no video"):
                probe(path)


def add_cover(path: Path, film: Path | None) -> None:
    image = cv2.imencode(".jpg", np.zeros((600, 600, 3), np.uint8))[1].tobytes()
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width = cover.height = 600
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        still = av.Packet(image)
        still.stream, still.pts, still.dts = cover, 0, 0
        still.time_base = Fraction(1, 25)
        still.is_keyframe = True
        if film is None:
            sound = container.add_stream("aac", rate=44100)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
            frame.rate = 44100
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
            container.mux(still)
            return
        with av.open(str(film)) as inner:
            (source,) = inner.streams.video
            copy = container.add_stream_from_template(source)
            container.start_encoding()
            container.mux(still)
            for packet in inner.demux(source):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
