"""Videos of a rendered face."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.demo.clip import render_clip


def face_video(path: Path, frames: int = 24) -> Path:
    """One person at 25 frames a second, to and fro."""
    rendered = list(render_clip(1, "happiness", 0, frame_px=192, fps=25.0))[:24]
    seen = [np.ascontiguousarray(frame.image) for frame in rendered]
    course = [*seen, *seen[::-1]]
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=Fraction(25), options={"crf": "16"})
        track.width, track.height, track.pix_fmt = 192, 192, "yuv420p"
        for number in range(frames):
            picture = course[number % len(course)]
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode(None))
    return path
