"""Small real video files for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    seed: int,
    *,
    frames: int = 40,
    side: int = 64,
    quality: int = 3,
    moving: bool = True,
) -> Path:
    """A bright disc on its way over a patterned ground; both differ from seed to seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:64j, 0:1:64j]
    ground = 60 + 50 * np.sin(x * rng.uniform(2, 12) + rng.uniform(0, 6)) * np.cos(
        y * rng.uniform(2, 12) + rng.uniform(0, 6)
    )
    fx, fy, px, py = rng.uniform(1, 3), rng.uniform(1, 3), *rng.uniform(0, 6, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # faster than to start threads for so little
        stream.codec_context.qmin = stream.codec_context.qmax = quality
        for index in range(frames):
            t = index / 25 if moving else 0.0
            disc = (x - 0.5 - 0.35 * np.sin(fx * 3 * t + px)) ** 2 + (
                y - 0.5 - 0.35 * np.sin(fy * 3 * t + py)
            ) ** 2 < 0.03
            gray = np.where(disc, 220, ground).astype(np.uint8)
            gray = np.kron(gray, np.ones((side // 64, side // 64), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.stack([gray] * 3, axis=-1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
