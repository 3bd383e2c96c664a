"""Two people in one video: side by side, or changing places."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Scene:
    """A video, and where the middle of each person is in each frame: int [frames, 2]."""

    path: Path
    middles: np.ndarray
    hidden: np.ndarray

    def person(self, frame: int, x: float) -> int:
        """Who is there."""
        return int(np.abs(self.middles[frame] - x).argmin())


def compose(
    path: Path,
    people: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    *,
    swap: bool,
    occluder: bool,
    rate: int = 25,
) -> Scene:
    """Images [H, W, 3] of two people, of equal sides, on a canvas of 4 W; each as often as its
    list is long, to and fro. With `swap` they change places in the middle half of the video,
    behind an `occluder` that hides both at once, or the first before the second."""
    height, side = people[0][0].shape[:2]
    frames = min(len(own) for own in people)
    width = 4 * side
    way = np.clip((np.arange(frames) / frames - 0.25) * 2, 0, 1) if swap else np.zeros(frames)
    left = np.round(way * (width - side)).astype(int)
    starts = np.stack([left, width - side - left], axis=1)
    bar = slice(width // 2 - int(0.7 * side), width // 2 + int(0.7 * side))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            canvas = np.full((height, width, 3), 90, np.uint8)
            for who in (1, 0):  # the first stands before the second
                start = starts[number, who]
                canvas[:, start : start + side] = people[who][number]
            if occluder:
                canvas[:, bar] = 140
            frame = av.VideoFrame.from_ndarray(canvas, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    middles = starts + side // 2
    hidden = np.abs(middles[:, 0] - middles[:, 1]) < side
    return Scene(path, middles, hidden)
