"""A process that holds the networks and predicts one video at a time.

A damaged video may crash or hang a decoder where no handler of Python is reached, and a job must
end when it is canceled: then the process is killed, and the next job gets a fresh one. It talks
in JSON, because what has read a stranger's video must not be able to send a pickle.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.predict.formats import SUFFIX, Format
from arpgnet.pipeline.runner.workers import end_with_parent
from arpgnet.pipeline.tables.predictions import EXPRESSION

TABLE = "result"
# 8K; an image is held in memory several times
MOST_PIXELS = 7680 * 4320
# between two checks whether a job was canceled
_LOOK_S = 0.1
# a worker without a frame for so long is stuck; half an hour of video may be decoded before the
# first row
_SILENCE_S = 1200.0
# interval of the messages about progress
_EVERY_S = 0.1


@dataclass(frozen=True)
class Source:
    """Which network, and the options for all videos: see `predict.predictor.PredictOptions`."""

    model: str | None
    run: str | None
    window_s: float | None
    longest_s: float


@dataclass(frozen=True)
class Ready:
    """The network that a worker has loaded.

    Attributes:
        warning: what it must not be used for, if that is known.
        kind: its task.
        scale: what the values of its targets mean; empty: they are probabilities of classes.
        also: `Display.metadata` of each further task.
    """

    model: str
    classes: list[str]
    warning: str = ""
    kind: str = EXPRESSION
    scale: str = ""
    also: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """A video, where its results go, and which are wanted.

    Attributes:
        folder: gets `TABLE` with the suffixes of table, page and overlay.
        name: how the video is called.
    """

    video: Path
    folder: Path
    name: str
    form: Format = "csv"
    landmarks: bool = False
    overlay: bool = False
    blur_faces: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a task; `line` says what is wrong, if anything, `warning` what must be known
    of it."""

    state: Literal["done", "failed", "cancelled"]
    line: str | None = None
    faces: int | None = None
    complete: bool | None = None
    warning: str = ""


CANCELLED = Outcome("cancelled", "canceled")


class Worker:
    """The parent's handle of the process; for one thread at a time.

    Args:
        silence_s: a video without news for so long is given up.

    `start` and `run` raise:
        UserError: the network cannot be loaded.
    """

    def __init__(self, source: Source, silence_s: float = _SILENCE_S) -> None:
        self._source, self._silence_s = source, silence_s
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> Ready:
        """Start the process, and wait until the network is loaded."""
        # spawn: CUDA does not survive a fork
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._source), daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        try:
            said = json.loads(ours.recv_bytes())
        except (EOFError, OSError):
            self.stop()
            raise UserError("the network's process died while starting: out of memory?") from None
        if "line" in said:
            self.stop()
            raise UserError(said["line"])
        return Ready(**said)

    def run(
        self, task: Task, progress: Callable[[int, int], None], cancelled: threading.Event
    ) -> Outcome:
        """Predict one video. There is an outcome even if the process dies."""
        if self._process is None or not self._process.is_alive():
            self.stop()
            self.start()
        assert self._pipe is not None
        heard = time.monotonic()
        try:
            self._pipe.send_bytes(_as_json(task))
            while not cancelled.is_set():
                if self._pipe.poll(_LOOK_S):
                    said = json.loads(self._pipe.recv_bytes())
                    heard = time.monotonic()
                    if "state" in said:
                        return Outcome(**said)
                    progress(said["done"], said["total"])
                elif time.monotonic() - heard > self._silence_s:
                    self.stop()
                    return Outcome("failed", f"stopped: no frame in {self._silence_s:g} s")
        except (EOFError, OSError):
            self.stop()
            return Outcome("failed", "the process died while predicting the video")
        self.stop()
        return CANCELLED

    def stop(self) -> None:
        """Kill the process; the next task gets a fresh one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _as_json(task: Task) -> bytes:
    values = {name: str(v) if isinstance(v, Path) else v for name, v in vars(task).items()}
    return json.dumps(values).encode()


def _task(data: bytes) -> Task:
    values = json.loads(data)
    return Task(**values | {"video": Path(values["video"]), "folder": Path(values["folder"])})


def _work(pipe: Connection, source: Source) -> None:
    """Run the process: report what is loaded, then each task's progress and outcome."""
    # Ctrl-C reaches all processes of a terminal; only the server handles it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()

    def say(**message: Any) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    with contextlib.suppress(EOFError, BrokenPipeError):
        from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
        from arpgnet.pipeline.predict.source import open_model

        options = PredictOptions(page=True, window_s=source.window_s, longest_s=source.longest_s)
        try:
            model = open_model(source.model, source.run)
            predictor = Predictor(model, options)
            _check_window(predictor)
        except UserError as error:
            say(line=str(error))
            return
        also = [one.metadata for one in model.displays[1:]]
        ready = Ready(model.name, model.classes, model.warning, model.kind, model.scale, also)
        say(**vars(ready))
        while True:
            say(**vars(_predict(predictor, _task(pipe.recv_bytes()), say)))


def _check_window(predictor: Any) -> None:
    """Fail at once if every video would fail because the duration of a window is unknown."""
    import numpy as np

    from arpgnet.pipeline.video.stream import Plan

    predictor.layout(Plan(np.array([0.0, 0.04]), 0.04, whole=True, certain=True))


def _predict(predictor: Any, task: Task, say: Callable[..., None]) -> Outcome:
    from dataclasses import replace

    from arpgnet.pipeline.predict.run import reason
    from arpgnet.pipeline.video.container import probe

    said = 0.0

    def watch(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if done == total or now - said > _EVERY_S:
            said = now
            say(done=done, total=total)

    predictor.options = replace(
        predictor.options,
        form=task.form,
        landmarks=task.landmarks,
        overlay=task.overlay,
        blur_faces=task.blur_faces,
    )
    try:
        info = probe(task.video)
        if info.width * info.height > MOST_PIXELS:
            raise ClipError(f"{info.width} x {info.height} pixels: larger than 8K")
        target = task.folder / f"{TABLE}{SUFFIX[task.form]}"
        done = predictor.predict(task.video, target, name=task.name, watch=watch)
    except (ClipError, UserError) as error:
        return Outcome("failed", _without_folders(reason(task.video, error), task))
    except MemoryError:
        os._exit(1)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        # a bug, for the service's owner to see
        traceback.print_exc()
        return Outcome("failed", "internal error: details are in the service's log")
    state: Literal["done", "failed"] = "failed" if done.warning else "done"
    return Outcome(state, done.warning, done.faces, done.complete, done.likeness.warning)


def _without_folders(line: str, task: Task) -> str:
    """Hide the service's paths from clients."""
    shown = line.replace(str(task.video), task.name).replace(str(task.folder), "the job's folder")
    return " ".join(shown.split())
