"""Frames of a source that does not wait: a camera, or a named pipe that something writes video to.

A thread takes every frame as it comes. At most `HELD` wait for whoever takes them from here; then
the oldest is dropped and counted: a machine that is too slow sees less, and no later.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.video.container import Upright
from arpgnet.pipeline.video.stream import Shown

HELD = 2
CAMERA = re.compile(r"camera:(\d+)")
# containers that can be read without seeking
_FORMATS = "matroska,webm,mpegts,flv,avi,ogg,nut,ivf,mpeg"
_LOOK_S = 0.1


def is_live(source: Path) -> bool:
    """Whether it is `camera:N`, a device such as /dev/video0, or a named pipe."""
    named = CAMERA.fullmatch(str(source)) or str(source).startswith("/dev/video")
    return bool(named) or source.is_fifo() or source.is_char_device()


class LiveFrames:
    """An iterator of frames, numbered as the source gave them: what was dropped is a gap.

    Args:
        source: see `is_live`.
        stop: asked while waiting; once it says so there are no more frames.
        seconds: of time since the first frame that end it too.

    Raises, as its methods do:
        UserError: there is no such camera, or it is in use.
        ClipError: what comes through the pipe is not a video.
    """

    def __init__(self, source: Path, *, stop: Callable[[], bool], seconds: float | None) -> None:
        self._stop, self._seconds = stop, seconds
        self._waiting: deque[Shown] = deque()
        self._changed = threading.Condition()
        self._over = self._closed = False
        self._fault: Exception | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._thread.start()

    def __iter__(self) -> LiveFrames:
        return self

    def __next__(self) -> Shown:
        if not self.wait():
            raise StopIteration
        with self._changed:
            shown = self._waiting.popleft()
        if self._seconds is not None and shown.time_s >= self._seconds:
            raise StopIteration
        return shown

    def wait(self) -> bool:
        """Until there is a frame; False where there will be none."""
        with self._changed:
            while not self._waiting:
                if self._fault is not None:
                    raise self._fault
                if self._over or self._stop():
                    return False
                self._changed.wait(_LOOK_S)
            return not self._stop()

    def close(self) -> None:
        """Let the source go; a pipe that nobody writes to goes with the process."""
        self._closed = True
        self._thread.join(timeout=1.0)

    def _read(self, source: Path) -> None:
        try:
            began = None
            for number, (time_s, picture) in enumerate(_pictures(source)):
                began = time_s if began is None else began
                if self._closed:
                    return
                with self._changed:
                    if len(self._waiting) == HELD:
                        self._waiting.popleft()
                        self.dropped += 1
                    self._waiting.append(Shown(number, time_s - began, picture))
                    self._changed.notify()
        except Exception as error:  # raised again by whoever waits
            self._fault = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()


def _pictures(source: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds on any clock, and RGB uint8 [H, W, 3]."""
    return _of_pipe(source) if source.is_fifo() else _of_camera(source)


def _of_pipe(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    upright = Upright()
    try:
        with av.open(
            str(path), options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        ) as container:
            if not container.streams.video:
                raise ClipError("no video comes through the pipe")
            for frame in container.decode(video=0):
                yield frame.time or 0.0, upright.picture(frame)
    except (av.FFmpegError, OSError, ValueError):
        raise ClipError(
            f"what comes through the pipe is no video, or damaged: {_FORMATS} can be read from one"
        ) from None


def _of_camera(source: Path) -> Iterator[tuple[float, np.ndarray]]:
    number = CAMERA.fullmatch(str(source))
    if number is None and not source.exists():
        raise UserError(_NO_CAMERA)
    # its complaints would stand beside the one line
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(int(number[1]) if number else str(source))
    try:
        if not camera.isOpened():
            raise UserError(_NO_CAMERA)
        while True:
            there, picture = camera.read()
            if not there:
                raise ClipError("the camera gave no more images")
            yield time.monotonic(), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


_NO_CAMERA = (
    "no camera there, or another program or your rights keep it: `camera:0` is the first one, on "
    "Linux `ls /dev/video*` lists them"
)
