"""Videos with known images and sound, and overlays of made-up rows on them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from arpgnet.pipeline.predict.overlay.overlay import Overlay
from arpgnet.pipeline.predict.rows import Row, TableHeader
from arpgnet.pipeline.video.stream import plan

CLASSES = ["anger", "happiness", "neutral"]
GRAY = 128


def film(
    path: Path,
    *,
    width: int = 640,
    height: int = 360,
    times_ms: Sequence[int] = tuple(range(0, 400, 40)),
    rotation: int = 0,
    sound: str | None = None,
    pixels: str = "yuv420p",
) -> Path:
    """Gray images with a white upper quarter, stored so that they are upright after `rotation`;
    a tone of a second in the codec `sound`."""
    image = np.full((height, width, 3), GRAY, np.uint8)
    image[: height // 4] = 255
    stored = np.ascontiguousarray(np.rot90(image, -rotation // 90))
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25)
        track.height, track.width = stored.shape[:2]
        track.pix_fmt = pixels
        track.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            track.set_display_rotation(rotation)
        if sound:
            tone = container.add_stream(sound, rate=48000)
            tone.codec_context.layout = "mono"
        for time_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
        if sound:
            wave = 0.3 * np.sin(np.arange(48000) * 2 * np.pi * 440 / 48000)
            samples = (wave[None] * 32767).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            heard.rate = 48000
            heard.pts, heard.time_base = 0, Fraction(1, 48000)
            container.mux(tone.encode(heard))
            container.mux(tone.encode(None))
    return path


def overlay(path: Path, video: Path, faces: Sequence[tuple[int, Sequence[float], float]]) -> Path:
    """The same faces (number, box, coverage) in every frame, with 0.8 for the second class."""
    expected = plan(video)
    made = Overlay(path, video, expected, TableHeader(video.name, CLASSES, 0))
    values = np.array([0.1, 0.8, 0.1])
    for frame, time_s in enumerate(expected.times.tolist()):
        for number, box, coverage in faces:
            made.add(Row(frame, time_s, number, np.array(box, float), 0.9, values, coverage))
        if not faces:
            made.add(Row(frame, time_s))
    made.close(True)
    return path


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds, and images as stored [H, W, 3]."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        times = [float(frame.time) for frame in frames]
        return times, [frame.to_ndarray(format="rgb24") for frame in frames]


def sound_of(path: Path) -> tuple[str, np.ndarray, float, bytes]:
    """Codec, samples [n] of the first channel, the first one's time, and the packets' bytes."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        frames = list(container.decode(track))
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        name, start = track.codec_context.name, float(frames[0].time or 0.0)
    with av.open(str(path)) as container:
        packets = b"".join(bytes(packet) for packet in container.demux(audio=0))
    return name, samples, start, packets
