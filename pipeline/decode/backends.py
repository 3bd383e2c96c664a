"""Two ways to read chosen frames: decord and PyAV. Both only read forwards.

Seeking is where decord gives a neighbor's frame (HEVC with open groups of pictures), so
neither backend seeks. The images of the two are equal bit by bit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from arpgnet.pipeline.video.container import Upright, address, open_video
from arpgnet.pipeline.video.display import Display
from arpgnet.pipeline.video.survey import Seen, Survey, fingerprint, walk

# of MPEG-TS decord 0.6.0 skips the start and shows later frames in its place
_FOR_DECORD = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
# decord 0.6.0 bundles FFmpeg 4: no AV1 decoder; and of HEVC it takes neighbors' frames
_NOT_FOR_DECORD = frozenset({"av1", "hevc"})
# decord keeps times in float32: 1 ms up to 4 h
_SAME_TIME_S = 2e-3
# what decord answers where there is no timestamp is about 3.7e17
_NO_TIME_S = 1e9


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """This backend cannot be trusted with this file."""


class Backend(Protocol):
    """Hands out frames of a file by number."""

    name: str

    def frames(self, path: Path, survey: Survey, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the frames of increasing `indices`, uint8 RGB [H,W,3] as a player shows them.

        Raises:
            Refused: the backend cannot read this file, or its frames are not the survey's.
        """


class Decord:
    """decord, one thread; refuses what it is known to get wrong."""

    name = "decord"

    def frames(self, path: Path, survey: Survey, indices: np.ndarray) -> Iterator[np.ndarray]:
        decord = import_decord()
        if decord is None:
            raise Refused("decord is not installed")
        if survey.container not in _FOR_DECORD or survey.codec in _NOT_FOR_DECORD:
            raise Refused(f"decord is not used for {survey.codec} in {survey.container}")
        if not survey.steady:
            raise Refused("decord gives all images the first one's size and shape")
        if not survey.whole:
            raise Refused("decord does not notice where a damaged file stops being right")
        try:
            reader = decord.VideoReader(address(path), ctx=decord.cpu(0), num_threads=1)
            _check_times(reader, survey)
            wanted = set(indices.tolist())
            for index in range(int(indices[-1]) + 1):
                frame = reader.next()
                if index and index not in wanted:
                    continue
                image = _shown(frame.asnumpy(), survey.display)
                if not index and fingerprint(image) != survey.first:
                    raise Refused("decord's first image differs")
                if index in wanted:
                    yield image
        except (decord.DECORDError, RuntimeError, StopIteration, UnicodeError) as error:
            raise Refused(f"decord cannot read the file ({type(error).__name__})") from None


class PyAV:
    """PyAV, one thread; reads everything the survey could read."""

    name = "pyav"

    def frames(self, path: Path, survey: Survey, indices: np.ndarray) -> Iterator[np.ndarray]:
        wanted = set(indices.tolist())
        upright = Upright()
        with open_video(path) as (container, stream):
            for index, frame in enumerate(walk(path, container, stream, Seen([]), survey.timed)):
                if index in wanted:
                    yield upright.image(frame)
                if index == indices[-1]:
                    return
        raise Refused("the file changed while it was read")


def _shown(image: np.ndarray, display: Display) -> np.ndarray:
    """Undo decord's turn, which takes a mirror for a half turn, and show the image as it should."""
    turned = display.quarters + (2 if display.mirrored else 0)
    return display.image(np.rot90(image, -turned))


@functools.cache
def import_decord() -> Any:
    """Return the module `decord`, silenced; None where it is not installed or does not load."""
    try:
        import decord
    except (ImportError, OSError, RuntimeError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Decord(), PyAV())}


def _check_times(reader: Any, survey: Survey) -> None:
    """Check that decord's list of frames is the survey's.

    With an edit list decord counts frames that are cut, gives them negative times, and
    repeats the last frame instead of the missing ones.
    """
    count, known = len(reader), len(survey.times)
    if count < known or (survey.to_end and count != known):
        raise Refused(f"decord counts {count} frames, there are {known}")
    if not survey.timed:
        return  # AVI: no timestamps to compare, and no edit lists either
    stamps = reader.get_frame_timestamp(list(range(known)))[:, 0].astype(np.float64)
    if np.abs(stamps).max() > _NO_TIME_S:
        raise Refused("decord finds no timestamps")
    if stamps[0] < -_SAME_TIME_S:
        raise Refused("decord counts frames from before the start")
    if np.abs(stamps - stamps[0] - survey.times).max() > _SAME_TIME_S:
        raise Refused("decord's timestamps differ")
