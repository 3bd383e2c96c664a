"""Undamaged videos as cameras, editors and web sites make them, written with PyAV.

Every codec in every container that usually holds it, each with timings that its container knows;
and all orientations and several shapes of pixels. Frame i shows its number (`made_videos`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np

from helpers.made_videos import be_patient_again, make_image

FRAMES = 20
# H.263 knows five sizes only, and this one is shown as 4:3
WIDTH, HEIGHT = 176, 144
_QCIF = Fraction(12, 11)
FRAME_MS = 40
SOUND_HZ = 48_000
LATE_MS = 3000
HELD_MS = 4000

Timing = Literal[
    "constant", "variable", "held", "late", "negative", "sound longer", "sound shorter",
    "no duration",
]  # fmt: skip
# degrees counter-clockwise that make the stored image upright, and whether it is mirrored then
ORIENTATIONS = tuple(itertools.product((0, 90, 180, 270), (False, True)))


@dataclass(frozen=True)
class Case:
    """A video: what it is, and what is true of its frames."""

    codec: str
    suffix: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    sound: str | None = None
    timing: Timing = "constant"
    orientation: tuple[int, bool] = (0, False)
    pixel: Fraction = Fraction(1)

    @property
    def name(self) -> str:
        words = [self.codec, self.suffix, self.timing]
        words += [f"turned {self.orientation[0]}"] if self.orientation[0] else []
        words += ["mirrored"] if self.orientation[1] else []
        words += [f"pixels {self.pixel}".replace("/", " to ")] if self.pixel != 1 else []
        words += [self.sound] if self.sound and self.timing != "no duration" else []
        return ", ".join(words)


_B = {"bf": "2", "g": "10"}
_FAST = {"cpu-used": "8", "deadline": "realtime"}
_FORMATS = (
    ("libx264", "yuv420p", _B, "mp4 mov mkv flv ts avi"),
    ("libx265", "yuv420p", {"x265-params": "log-level=none", "preset": "ultrafast"}, "mp4 mkv ts"),
    ("libsvtav1", "yuv420p", {"preset": "10", "crf": "20"}, "mp4 webm"),
    ("libvpx", "yuv420p", _FAST, "webm mkv ivf"),
    ("libvpx-vp9", "yuv420p", _FAST, "webm mp4"),
    ("mpeg4", "yuv420p", {"bf": "2"}, "avi mp4 mkv nut"),
    ("mpeg2video", "yuv420p", {"bf": "2"}, "mpg mxf"),
    ("mpeg1video", "yuv420p", {}, "mpg"),
    ("mjpeg", "yuvj420p", {}, "avi mov"),
    ("prores_ks", "yuv422p10le", {}, "mov"),
    ("qtrle", "rgb24", {}, "mov"),
    ("ffv1", "yuv420p", {}, "mkv avi"),
    ("huffyuv", "yuv422p", {}, "avi"),
    ("flv", "yuv420p", {}, "flv"),
    ("wmv2", "yuv420p", {}, "wmv"),
    ("h263", "yuv420p", {}, "3gp"),
    ("gif", "gray", {}, "gif"),
    ("apng", "rgb24", {}, "apng"),
)
_SOUNDS = {
    "mp4": "aac", "mov": "aac", "mkv": "libopus", "webm": "libopus", "avi": "libmp3lame",
    "flv": "aac", "ts": "aac", "mpg": "mp2", "wmv": "wmav2", "nut": "aac",
}  # fmt: skip
_TIMINGS: dict[str, tuple[Timing, ...]] = {
    "mp4": ("constant", "variable", "held", "late", "negative", "sound longer", "sound shorter",
            "no duration"),
    "flv": ("constant", "variable", "late", "sound longer", "sound shorter", "no duration"),
    "ts": ("constant", "variable", "late", "negative", "sound longer", "sound shorter"),
    "avi": ("constant", "sound longer", "sound shorter"),
    "mpg": ("constant", "late", "sound longer", "sound shorter"),
    "wmv": ("constant", "variable", "late", "sound longer"),
    "nut": ("constant", "variable", "late", "sound longer"),
    "gif": ("constant", "variable", "held"),
    "ivf": ("constant", "variable"),
}  # fmt: skip
_TIMINGS["mov"] = _TIMINGS["mkv"] = _TIMINGS["webm"] = _TIMINGS["mp4"]
_WITH_SOUND = ("late", "sound longer", "sound shorter")
_SHAPES = (Fraction(4, 3), Fraction(10, 11), Fraction(64, 45))


def all_cases() -> list[Case]:
    """Every video of the corpus."""
    return [*_timed(), *_turned(), *_shaped()]


def _timed() -> Iterator[Case]:
    for codec, pixels, options, suffixes in _FORMATS:
        for suffix in suffixes.split():
            for number, timing in enumerate(_TIMINGS.get(suffix, ("constant",))):
                # of the usual timings, every other one has sound
                sound = timing in _WITH_SOUND or number % 2
                yield Case(
                    codec,
                    suffix,
                    pixels,
                    options,
                    _SOUNDS.get(suffix) if sound else None,
                    timing,
                    pixel=_QCIF if codec == "h263" else Fraction(1),
                )


def _turned() -> Iterator[Case]:
    for suffix in ("mp4", "mov"):
        case = Case("libx264", suffix, options=_B)
        for orientation in ORIENTATIONS[1:]:
            yield replace(case, orientation=orientation)
    case = Case("mpeg4", "mp4", sound="aac", timing="late")
    for orientation in ORIENTATIONS[1::2]:
        yield replace(case, orientation=orientation)


def _shaped() -> Iterator[Case]:
    for suffix in ("mp4", "mov", "mkv", "ts"):
        for pixel in _SHAPES:
            yield Case("libx264", suffix, options=_B, pixel=pixel)
    # MPEG-2 knows 4:3 and 16:9 only
    yield Case("mpeg2video", "mpg", pixel=_QCIF)
    for orientation in ORIENTATIONS[1:]:
        yield Case("libx264", "mp4", options=_B, orientation=orientation, pixel=_SHAPES[0])


def shown(case: Case, stored: np.ndarray) -> np.ndarray:
    """Return what a player shows for a stored image: square pixels, turned, mirrored."""
    turns, mirrored = case.orientation[0] // 90, case.orientation[1]
    image = np.rot90(square(stored, case.pixel), turns)
    return image[:, ::-1] if mirrored else image


def square(image: np.ndarray, pixel: Fraction) -> np.ndarray:
    """Make pixels square: one side grows."""
    height, width = image.shape[:2]
    size = (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def times_ms(case: Case) -> list[int]:
    """Return when the frames are shown, by the file's clock."""
    if case.timing == "variable":
        steps = itertools.islice(itertools.cycle((30, 90, 50, 20, 40)), FRAMES - 1)
        return [0, *itertools.accumulate(steps)]
    start = {"late": LATE_MS, "negative": -3 * FRAME_MS}.get(case.timing, 0)
    return [start + FRAME_MS * number for number in range(FRAMES)]


def write_case(folder: Path, case: Case) -> Path:
    """Write a case's video."""
    path = folder / f"a.{case.suffix}"
    formats = {"mpg": "vob", "apng": "apng", "wmv": "asf"}
    with av.open(
        str(path), "w", format=formats.get(case.suffix), options=_container_options(case)
    ) as container:
        packets = _pictures(container, case)
        if case.sound:
            packets += _noise(container, case)
        # as players need them: in the order of their times
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            container.mux(packet)
    be_patient_again()
    if case.suffix == "gif" and case.timing == "held":
        _hold_last(path)
    return path


def _container_options(case: Case) -> dict[str, str]:
    if case.suffix == "apng":
        return {"plays": "1"}
    if case.timing != "no duration":
        return {}
    return {
        "mp4": {"movflags": "frag_keyframe+empty_moov"},
        "mov": {"movflags": "frag_keyframe+empty_moov"},
        "mkv": {"live": "1"},
        "webm": {"live": "1"},
        "flv": {"flvflags": "no_duration_filesize"},
    }[case.suffix]


def _pictures(container: Any, case: Case) -> list[Any]:
    stream = container.add_stream(case.codec, rate=25, options=case.options)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, case.pixels
    context = stream.codec_context
    context.thread_count = 1
    if case.timing == "variable":
        context.time_base = Fraction(1, 1000)
        context.max_b_frames = 0
    if case.pixel != 1:
        context.sample_aspect_ratio = case.pixel
    if case.orientation != (0, False):
        degrees, mirrored = case.orientation
        stream.set_display_rotation(degrees, hflip=mirrored)
    packets = []
    for number, at in enumerate(times_ms(case)):
        frame = av.VideoFrame.from_ndarray(make_image(number, WIDTH, HEIGHT), "rgb24")
        frame = frame.reformat(format=case.pixels)
        frame.time_base = context.time_base or Fraction(1, 25)
        frame.pts = round(Fraction(at, 1000) / frame.time_base)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    if case.timing == "held":
        last = max(packets, key=lambda packet: packet.pts)
        last.duration = round(Fraction(HELD_MS, 1000) / last.time_base)
    return packets


def _noise(container: Any, case: Case) -> list[Any]:
    """Sound from 0 on, as long as the pictures or what the case says."""
    stream = container.add_stream(case.sound, rate=SOUND_HZ, layout="stereo")
    stream.codec_context.bit_rate = 96_000
    until_ms = max(times_ms(case)) + FRAME_MS
    until_ms = {"sound longer": 5 * until_ms, "sound shorter": until_ms // 4}.get(
        case.timing, until_ms
    )
    size = stream.codec_context.frame_size or 1024
    rng = np.random.default_rng(0)
    kind = stream.codec_context.format.name
    packets = []
    for number in range(-(-until_ms * SOUND_HZ // 1000 // size)):
        block = rng.uniform(-0.1, 0.1, (2, size)).astype(np.float32)
        data = block if kind.endswith("p") else np.ascontiguousarray(block.T).reshape(1, -1)
        if kind.startswith("s"):
            data = (data * np.iinfo(f"int{kind[1:3]}").max).astype(f"int{kind[1:3]}")
        frame = av.AudioFrame.from_ndarray(data, kind, "stereo")
        frame.rate, frame.pts, frame.time_base = SOUND_HZ, number * size, Fraction(1, SOUND_HZ)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def _hold_last(path: Path) -> None:
    """The last graphic control extension's delay, in 1/100 s."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"\x21\xf9\x04")
    data[at + 4 : at + 6] = (HELD_MS // 10).to_bytes(2, "little")
    path.write_bytes(bytes(data))
