"""Many rendered clips, and one very long one, made quickly."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from arpgnet.pipeline.demo import render_dataset

LONG_FPS = 25


def render_sources(folder: Path) -> list[Path]:
    """32 clips of 4 rendered people, 256 pixels."""
    render_dataset(folder, subjects=4, clips_per_class=1, frame_px=256, fps=25.0, seed=0, workers=2)
    return sorted(folder.rglob("*.mp4"))


def write_copies(sources: list[Path], folder: Path, count: int, first: int = 0) -> Path:
    """Files with the sources' images, no two with equal bytes; the csv that lists all there are.

    A box of type `free` behind the end, which decoders pass over, holds the file's number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        source = sources[number % len(sources)]
        ending = struct.pack(">I4sQ", 16, b"free", number)
        (folder / f"clip{number:05d}.mp4").write_bytes(source.read_bytes() + ending)
    lines = ["path,label"]
    for path in sorted(folder.glob("*.mp4")):
        source = int(path.stem[4:]) % len(sources)
        lines.append(f"{path.name},{'ab'[source % 2]}")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def write_long_clip(sources: list[Path], folder: Path, seconds: int) -> Path:
    """One 1080p clip of that length, a rendered face in it: a loop, encoded once; and its csv.

    Splits want several clips of two classes: short ones stand beside it.
    """
    folder.mkdir(parents=True)
    with av.open(str(sources[0])) as video:
        faces = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    loop = folder / "loop.mp4"
    _encode(loop, faces)
    repeat(loop, folder / "long.mp4", seconds * LONG_FPS // len(faces))
    loop.unlink()
    lines = ["path,label", "long.mp4,a"]
    for number, source in enumerate(sources[1:9]):
        (folder / f"short{number}.mp4").write_bytes(source.read_bytes())
        lines.append(f"short{number}.mp4,{'ab'[number % 2]}")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def _encode(path: Path, faces: list[np.ndarray]) -> None:
    """The faces on a moving ground of 1920 x 1080."""
    down, across = np.mgrid[0:1080, 0:1920]
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=LONG_FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number, face in enumerate(faces):
            ground = ((across + down + 3 * number) % 256).astype(np.uint8)
            image = np.repeat(ground[:, :, None], 3, axis=2)
            image[270:810, 690:1230] = cv2.resize(face, (540, 540))
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        video.mux(stream.encode(None))


def repeat(loop: Path, path: Path, times: int) -> None:
    """The same packets again and again, each time later."""
    with av.open(str(path), "w") as out:
        copy = None
        shift = 0
        for _ in range(times):
            with av.open(str(loop)) as video:
                stream = video.streams.video[0]
                copy = copy or out.add_stream_from_template(stream)
                length = int(Fraction(stream.frames, LONG_FPS) / stream.time_base)
                for packet in video.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = copy
                    out.mux(packet)
            shift += length
