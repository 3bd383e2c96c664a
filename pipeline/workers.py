"""Worker processes that may die: whose clip it was is known, and the run goes on.

`concurrent.futures` breaks the whole pool when one process dies, and does not say on
which item. Here every worker has its own pipe and one item at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from pipeline.errors import UserError

# libraries read these once, when they are first imported
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
# how often an item is given to a worker before the item is blamed
_TRIES = 2


class Job(Protocol):
    """What a worker does; picklable."""

    def start(self) -> None:
        """Called once in each worker, before the first item."""

    def do(self, item: Any) -> Any:
        """One item's result; picklable."""


@dataclass(frozen=True)
class Crashed:
    """In the place of a result: the worker died on this item, twice."""

    exit_code: int | None


class WorkerError(Exception):
    """An exception in a worker, with its traceback as text."""

    def __init__(self, item: Any, text: str) -> None:
        super().__init__(text)
        self.item = item


def run_in_workers(job: Job, items: Sequence[Any], count: int) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result or Crashed) as they are finished, in no fixed order.

    Args:
        count: processes; each holds one item at a time, so nothing piles up.

    Raises:
        UserError: raised by the job, or the workers die before their first item.
        WorkerError: any other exception in the job.
    """
    todo = deque((item, 0) for item in items)
    crew = _Crew(job)
    try:
        for _ in range(min(count, len(items))):
            crew.hire()
        while todo or crew.busy:
            for worker in crew.ready():
                message = worker.receive()
                if message is None:
                    item, tries = crew.bury(worker)
                    if item is None:
                        continue
                    if tries + 1 < _TRIES:
                        todo.appendleft((item, tries + 1))
                    else:
                        yield item, Crashed(worker.process.exitcode)
                    if todo:
                        crew.hire()
                    continue
                kind, value = message
                item = worker.item
                worker.item = None
                if kind == "user error":
                    raise UserError(value)
                if kind == "error":
                    raise WorkerError(item, value)
                if todo:
                    worker.give(*todo.popleft())
                if kind == "result":
                    yield item, value
    finally:
        crew.dismiss()


class _Worker:
    """One process and our end of its pipe."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.started = False
        self.item: Any = None
        self.tries = 0

    def give(self, item: Any, tries: int) -> None:
        self.item, self.tries = item, tries
        # when it has died, the next `receive` finds out
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(item)

    def receive(self) -> tuple[str, Any] | None:
        """The next message, or None when the process is dead."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return None
        self.started = True
        return message


class _Crew:
    """All worker processes."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._workers: list[_Worker] = []
        self._deaths_at_start = 0

    @property
    def busy(self) -> bool:
        return any(worker.item is not None or not worker.started for worker in self._workers)

    def hire(self) -> None:
        # spawn: a forked decord reader hangs, and CUDA does not survive a fork
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._job), daemon=True)
        with _environment(_ONE_THREAD), _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))

    def ready(self) -> list[_Worker]:
        """Workers with a message, or dead; waits until there is one."""
        by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in self._workers}
        return [by_pipe[pipe] for pipe in wait(list(by_pipe))]

    def bury(self, worker: _Worker) -> tuple[Any, int]:
        """Remove a dead worker; what it held and how often that was tried before."""
        self._workers.remove(worker)
        worker.pipe.close()
        if not worker.started:
            self._deaths_at_start += 1
            if self._deaths_at_start >= _TRIES:
                raise UserError(
                    "worker processes die while starting "
                    f"(exit code {worker.process.exitcode}): not enough memory? "
                    "set engine.workers: 1"
                )
            self.hire()
        return worker.item, worker.tries

    def dismiss(self) -> None:
        """End all; at once when they are at work, because nobody waits for the result."""
        for worker in self._workers:
            if worker.item is None and worker.started:
                worker.give(None, 0)
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """The settings for children that are started inside."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal; only the parent decides what it means.

    A child inherits an ignored signal, so it is deaf from its first instruction on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Connection, job: Job) -> None:
    """A worker's life: messages are (kind, value)."""
    try:
        job.start()
        pipe.send(("started", None))
        # None is the call to end
        while (item := pipe.recv()) is not None:
            pipe.send(("result", job.do(item)))
    except UserError as error:
        pipe.send(("user error", str(error)))
    except EOFError:
        pass  # the parent is gone
    except Exception:
        pipe.send(("error", traceback.format_exc()))
