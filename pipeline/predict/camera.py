"""Frames of a live source: a camera, or a named pipe that another program writes video to.

A thread reads every frame as it arrives. At most `HELD` wait in a queue; then the oldest is dropped
and counted: a machine that is too slow skips frames instead of falling behind.
"""

from __future__ import annotations

import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.video.container import Upright, address, decoded, shown_stream
from arpgnet.pipeline.video.stream import Shown

HELD = 2
CAMERA = re.compile(r"camera:(\d+)")
DEVICE = re.compile(r"/dev/video\d+")
# containers that can be read without seeking
_FORMATS = "matroska,webm,mpegts,flv,avi,ogg,nut,ivf,mpeg"
_LOOK_S = 0.1


def is_live(source: Path) -> bool:
    """Tell whether it is `camera:N`, a device such as /dev/video0, or a named pipe."""
    try:
        mode = source.stat().st_mode
    except OSError:
        # a camera has no file, or one that is gone
        return bool(CAMERA.fullmatch(str(source)) or DEVICE.fullmatch(str(source)))
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


class LiveFrames:
    """An iterator of frames, numbered as in the source: dropped frames leave a gap.

    Args:
        source: see `is_live`.
        stop: polled while waiting; once it returns True there are no more frames.
        seconds: duration after which it stops.

    Raises, as its methods do:
        UserError: there is no such camera, or it is in use.
        ClipError: the pipe does not contain a video.
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
        """Wait until there is a frame; False if there will be none."""
        with self._changed:
            while not self._waiting:
                if self._fault is not None:
                    raise self._fault
                if self._over or self._stop():
                    return False
                self._changed.wait(_LOOK_S)
            return not self._stop()

    def close(self) -> None:
        """Release the source; a pipe that nobody writes to is released with the process."""
        self._closed = True
        self._thread.join(timeout=1.0)

    def _read(self, source: Path) -> None:
        try:
            began = None
            for number, (time_s, image) in enumerate(_images(source)):
                began = time_s if began is None else began
                if self._closed:
                    return
                with self._changed:
                    if len(self._waiting) == HELD:
                        self._waiting.popleft()
                        self.dropped += 1
                    self._waiting.append(Shown(number, time_s - began, image))
                    self._changed.notify()
        except Exception as error:  # raised again by whoever waits
            self._fault = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()


def _images(source: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield seconds on any clock, and RGB uint8 [H, W, 3]."""
    return _of_pipe(source) if source.is_fifo() else _of_camera(source)


def _of_pipe(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    upright = Upright()
    try:
        with av.open(
            address(path), options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        ) as container:
            stream = shown_stream(container)
            if stream is None:
                raise ClipError("there is no video in the pipe")
            for frame in decoded(container, stream):
                yield frame.time or 0.0, upright.image(frame)
    except (av.FFmpegError, OSError, ValueError):
        raise ClipError(
            f"the pipe's content is not a video, or it is damaged; supported formats: {_FORMATS}"
        ) from None


def _of_camera(source: Path) -> Iterator[tuple[float, np.ndarray]]:
    number = CAMERA.fullmatch(str(source))
    if number is None and not source.exists():
        raise UserError(_NO_CAMERA)
    # OpenCV's own messages would come in addition to ours
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(int(number[1]) if number else str(source))
    try:
        if not camera.isOpened():
            raise UserError(_NO_CAMERA)
        while True:
            there, image = camera.read()
            if not there:
                raise ClipError("the camera stopped delivering images")
            yield time.monotonic(), cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


_NO_CAMERA = (
    "no such camera, or it is in use by another program, or you lack the permission: `camera:0` is "
    "the first one; on Linux, `ls /dev/video*` lists them"
)
