"""Videos of rendered people."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from arpgnet.pipeline.demo.clip import render_clip


def film(
    path: Path,
    images: list[np.ndarray],
    *,
    rotation: int = 0,
    mirrored: bool = False,
    pixel: Fraction | None = None,
    step_ms: list[int] | None = None,
) -> Path:
    """Writes RGB images; 40 ms each, or `step_ms`. Players rotate, then mirror them, and stretch
    their pixels to `pixel`, width over height."""
    times = np.cumsum(step_ms or [40] * len(images)) - (step_ms or [40])[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "6", "crf": "16"})
        height, width = images[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        if pixel:
            stream.codec_context.sample_aspect_ratio = pixel
        for image, time_ms in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def images_of(person: int, count: int = 24) -> list[np.ndarray]:
    """RGB images, at most 24, of somebody who begins to smile."""
    frames = render_clip(person, "happiness", 0, frame_px=192, fps=25.0)
    return [frame.image for frame in frames][:count]


def film_of_a_face(path: Path, count: int = 24) -> Path:
    """A video of so many frames in which somebody smiles and stops again."""
    there = images_of(1)
    both = [*there, *there[::-1]]
    return film(path, [both[number % len(both)] for number in range(count)])
