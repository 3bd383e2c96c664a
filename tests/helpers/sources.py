"""The undamaged videos: generated in every container and codec, rendered, and real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from arpgnet.pipeline.demo import render_dataset
from helpers import made_videos as made

FRAMES = 60
SIDE = {"width": 160, "height": 120, "frames": FRAMES}
B_FRAMES = {"bf": "3", "g": "20"}
FAST_START = {"movflags": "faststart"}
VFR_MS = np.cumsum([0] + [20 if number % 3 else 90 for number in range(FRAMES - 1)])


@dataclass(frozen=True)
class Source:
    """An undamaged video: its images are upright, `times` are seconds after the first frame."""

    name: str
    suffix: str
    data: bytes = field(repr=False)
    times: np.ndarray = field(repr=False)
    images: tuple[np.ndarray, ...] = field(repr=False)


def make_sources(folder: Path, assets: Path | None) -> list[Source]:
    """All sources; real clips too if `assets` is given."""
    folder.mkdir()
    paths = {
        "h264.mp4": made.write(folder / "a.mp4", options=B_FRAMES, container_options=FAST_START,
                               **SIDE),
        "h264 end.mp4": made.write(folder / "b.mp4", options=B_FRAMES, **SIDE),
        "h264.mkv": made.write(folder / "c.mkv", options=B_FRAMES, **SIDE),
        "h264.mov": made.write(folder / "d.mov", options=B_FRAMES, **SIDE),
        "h264.ts": made.write(folder / "e.ts", options=B_FRAMES, **SIDE),
        "xvid.avi": made.write(folder / "f.avi", "mpeg4", options={"bf": "2"}, **SIDE),
        "mjpeg.avi": made.write(folder / "g.avi", "mjpeg", pixels="yuvj420p", **SIDE),
        "vp9.webm": made.write(folder / "h.webm", "libvpx-vp9",
                               options={"cpu-used": "8", "deadline": "realtime"}, **SIDE),
        "hevc.mp4": made.write(folder / "i.mp4", "libx265",
                               options={"x265-params": "log-level=none", "preset": "ultrafast"},
                               **SIDE),
        "av1.mp4": made.write(folder / "j.mp4", "libsvtav1",
                              options={"preset": "10", "crf": "20"}, **SIDE),
        "animated.gif": made.write(folder / "k.gif", "gif", pixels="rgb8", **SIDE),
        "vfr.mp4": made.write(folder / "l.mp4", times_ms=VFR_MS.tolist(), options=B_FRAMES, **SIDE),
        "odd.mp4": made.write(folder / "m.mp4", pixels="yuv444p", width=161, height=121,
                              frames=FRAMES),
        "turned.mp4": made.write(folder / "n.mp4", rotation=90, **SIDE),
    }  # fmt: skip
    whole = made.write(folder / "o.mp4", options={"bf": "3", "g": "15"}, **SIDE)
    paths["edited.mp4"] = made.shifted(whole, folder / "p.mp4", frames=20, frame_ticks=512)
    render_dataset(
        folder / "demo", subjects=4, clips_per_class=1, frame_px=96, fps=12.5, seed=0, workers=2
    )
    paths["rendered.mp4"] = min((folder / "demo").rglob("*.mp4"))
    if assets is not None:
        paths["real.mkv"] = assets / "clips/asl/eat.mkv"
        paths["real.mp4"] = assets / "clips/ravdess/01-01-01-01-01-01-01.mp4"
    return [_read(name, path) for name, path in paths.items()]


def _read(name: str, path: Path) -> Source:
    """The truth, by PyAV alone: what it shows, and when."""
    images, stamps = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            turned = round(frame.rotation / 90) % 4
            images.append(np.rot90(frame.to_ndarray(format="rgb24"), turned))
            stamps.append(frame.time)
    times = np.array(stamps, dtype=np.float64)
    if path.suffix == ".avi":
        times = np.arange(len(images)) / 25.0
    return Source(name, path.suffix, path.read_bytes(), times - times[0], tuple(images))
