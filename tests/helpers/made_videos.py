"""Small videos with every property that breaks decoders, written with PyAV.

Frame i shows its own number as a pattern of black and white blocks, so that a test can
read back from a decoded image which frame it is.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

Matrix = tuple[float, float, float, float]

_BITS = 8
FRAMES = 60


def make_image(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """[H,W,3] uint8: `number` in binary, one bit a column of 1/8 width; the lower third moves."""
    image = np.empty((height, width, 3), np.uint8)
    edges = np.linspace(0, width, _BITS + 1).astype(int)
    for bit, (left, right) in enumerate(itertools.pairwise(edges)):
        image[:, left:right] = 235 if number >> bit & 1 else 20
    ramp = (np.arange(width) + 4 * number) % 256
    image[2 * height // 3 :] = ramp[None, :, None]
    return image


def number_of(image: np.ndarray) -> int:
    """The frame number that `make_image` drew, from the upper half of a decoded image."""
    height, width = image.shape[:2]
    edges = np.linspace(0, width, _BITS + 1).astype(int)
    bits = [
        image[: height // 2, left + 4 : right - 4].mean() > 128
        for left, right in itertools.pairwise(edges)
    ]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


def write(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = FRAMES,
    width: int = 320,
    height: int = 240,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    times_ms: list[int] | None = None,
    rotation: int | None = None,
    matrix: Matrix | None = None,
    pixel: Fraction | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video at 25 frames a second, or with the given times.

    `matrix` is a b c d of a display matrix, `pixel` width over height of a stored pixel.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            a, b, c, d = (round(value * 2**16) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 2**30])
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(make_image(number, width, height), "rgb24")
            frame = frame.reformat(format=pixels)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    be_patient_again()
    return path


def be_patient_again() -> None:
    """SVT-AV1 turns the thread that calls it into a real-time one where it may: all processes it
    starts afterwards would keep others from the cores."""
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def write_images(path: Path, codec: str, images: Sequence[np.ndarray]) -> Path:
    """RGB images at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, bit_rate=4_000_000)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shifted(source: Path, path: Path, frames: int, frame_ticks: int) -> Path:
    """The same packets, begun `frames` earlier than zero: an edit list cuts them off."""
    with av.open(str(source)) as inner, av.open(str(path), "w") as outer:
        stream = inner.streams.video[0]
        copy = outer.add_stream_from_template(stream)
        for packet in inner.demux(stream):
            if packet.dts is not None:
                packet.pts -= frames * frame_ticks
                packet.dts -= frames * frame_ticks
                packet.stream = copy
                outer.mux(packet)
    return path


def joined(path: Path, *sources: Path) -> Path:
    """The packets of MPEG-TS or WebM files, one file after the other."""
    with av.open(str(path), "w") as outer:
        copy = None
        shift = 0
        for source in sources:
            with av.open(str(source)) as inner:
                stream = inner.streams.video[0]
                copy = copy or outer.add_stream_from_template(stream)
                start = stream.start_time or 0
                end = shift
                for packet in inner.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += shift - start
                    packet.dts += shift - start
                    end = max(end, packet.pts + round(1 / 25 / packet.time_base))
                    packet.stream = copy
                    outer.mux(packet)
                shift = end
    return path


def cut(source: Path, path: Path, part: float) -> Path:
    """The first `part` of a file's bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
