"""From a video file to sampled JPEG frames; no wrong frame in silence.

`forecast` reads the packets' times, `sampling` chooses frames from them, and `survey`
decodes the file once with PyAV: it finds out which frames there are, when, and where the
file is damaged, while the chosen frames are made into pictures. Where the forecast was
wrong, or decord is asked for, `backends` read the file again from its beginning and hand
out the frames; decord only where its own list of frames agrees with the survey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.video.decode_clip import FRAMES_SCHEMA, DecodeClip

if TYPE_CHECKING:
    from pipeline.video.container import VideoInfo, probe

__all__ = ["FRAMES_SCHEMA", "DecodeClip", "VideoInfo", "probe"]


def __getattr__(name: str) -> Any:
    """`probe` and `VideoInfo` on first use: importing av takes 0.6 s."""
    if name not in ("VideoInfo", "probe"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.video import container

    return getattr(container, name)
