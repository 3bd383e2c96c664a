"""Run items in worker processes that may die, hang or grow; the run goes on without them.

`concurrent.futures` breaks the whole pool when one process dies, does not say on which
item, and cannot end one that hangs. Here every worker has its own pipe and one item at a
time. All work is done in workers: the libraries that decode and infer can crash and hang
where no Python handler is reached. To start one costs 0.3 s and what its job imports.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.runner.threads import ONE_THREAD
from arpgnet.pipeline.store.code import STATE_AT_START, sources_state

# how often an item is assigned to a worker before the item is blamed
_TRIES = 2
# a worker that needs much memory from its first item on would otherwise be replaced each time
_GROWTH = 1.5
# a worker's exit code when Python could not allocate
NO_MEMORY = 66
# the longest wait that the operating system accepts
_LONGEST_WAIT_S = 86400.0
# how long a process that was asked to end, or whose pipe is closed, may take to exit
_END_S = 5.0
# a worker's own end of its pipe
_to_parent: Connection | None = None


class Job(Protocol):
    """The work that a worker does; picklable."""

    def start(self) -> None:
        """Prepare a worker: called once in each, before the first item."""

    def do(self, item: Any) -> Any:
        """Compute one item's result; picklable."""


@dataclass(frozen=True)
class Limits:
    """The limits beyond which a worker is ended from outside.

    Attributes:
        seconds: for one item; then the worker is killed.
        memory_mb: resident after an item; a worker that has grown beyond this, and to 1.5
            times its size after its first item, is replaced by a fresh one.
    """

    seconds: float = math.inf
    memory_mb: float = math.inf


@dataclass(frozen=True)
class Crashed:
    """Stands in for a result: the worker died on this item, twice."""

    exit_code: int | None

    def __str__(self) -> str:
        """Return the same text on every machine."""
        return "worker crashed"


@dataclass(frozen=True)
class TimedOut:
    """Stands in for a result: the worker was killed because the item took this long."""

    seconds: float

    def __str__(self) -> str:
        return f"took longer than {self.seconds:g} s"


class WorkerError(Exception):
    """An exception in a worker, with its traceback as text."""

    def __init__(self, item: Any, text: str) -> None:
        super().__init__(text)
        self.item = item


def cores() -> int:
    """Count the cores this process may use: its affinity, and a container's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count or 1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup, or "max": no quota
    return max(1, count or 1)


def report(value: Any) -> None:
    """Send the parent a picklable value about the current item, before the item is done."""
    assert _to_parent is not None, "only a worker can report"
    _to_parent.send(("report", value))


def run_in_workers(
    job: Job,
    items: Iterable[Any],
    count: int,
    limits: Limits | None = None,
    on_report: Callable[[Any, Any], None] = lambda item, value: None,
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        count: processes at a time, no more than there are items; each has one item, so
            nothing piles up.
        on_report: called with the item and each value that its worker reports; again from the start
            when the item is assigned to another worker.

    Raises:
        UserError: raised by the job, or the workers die before their first item.
        WorkerError: any other exception in the job.
    """
    pool = WorkerPool(job, count, limits or Limits(), on_report)
    try:
        yield from pool.run(items)
    finally:
        pool.shutdown()


@dataclass
class _Task:
    item: Any
    tries: int = 0


# an event of a worker: a kind of message, its value, and the worker's task
_Event = tuple[str, Any, _Task | None]


class _Worker:
    """One process and our end of its pipe."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.started = False
        self.task: _Task | None = None
        self.deadline = math.inf

    @property
    def idle(self) -> bool:
        return self.started and self.task is None

    def assign(self, task: _Task, seconds: float) -> None:
        task.tries += 1
        self.task, self.deadline = task, time.monotonic() + seconds
        self._send(task.item)

    def receive(self) -> tuple[str, Any]:
        """Receive the next message; "dead" when the process is."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.end()
            return "dead", Crashed(self.process.exitcode)
        self.started = True
        return message

    def release(self) -> _Task | None:
        """Take the task back."""
        task, self.task, self.deadline = self.task, None, math.inf
        return task

    def stop(self) -> None:
        """Ask it to end; terminate it when it is at work, for nobody waits for the result."""
        if self.idle:
            self._send(None)
        else:
            self.process.terminate()

    def end(self, timeout_s: float = _END_S) -> None:
        """Wait for the process to end, then make it."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()

    def _send(self, item: Any) -> None:
        # when it has died, the next `receive` finds out
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(item)


class WorkerPool:
    """A pool of worker processes that stay from one `run` to the next; `shutdown` ends them."""

    def __init__(
        self,
        job: Job,
        count: int,
        limits: Limits,
        on_report: Callable[[Any, Any], None] = lambda item, value: None,
    ) -> None:
        self._job = job
        self._count = count
        self._limits = limits
        self._on_report = on_report
        self._workers: list[_Worker] = []
        self._deaths_at_start = 0

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield results like `run_in_workers`, and raise its errors."""
        todo = deque(_Task(item) for item in items)
        while todo or self._busy:
            self._dispatch(todo)
            for kind, value, task in self._wait():
                if kind == "user error":
                    raise UserError(value)
                if kind == "error":
                    raise WorkerError(task and task.item, value)
                if task is None:
                    continue
                if kind == "report":
                    self._on_report(task.item, value)
                    continue
                if kind == "dead" and task.tries < _TRIES:
                    todo.appendleft(task)
                else:
                    self._dispatch(todo)
                    yield task.item, value

    def shutdown(self) -> None:
        """End all of them."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    @property
    def _busy(self) -> bool:
        return any(worker.task is not None for worker in self._workers)

    def _dispatch(self, todo: deque[_Task]) -> None:
        """Give every idle worker a task; start as many more as there is work for."""
        for worker in self._workers:
            if todo and worker.idle:
                worker.assign(todo.popleft(), self._limits.seconds)
        starting = sum(not worker.started for worker in self._workers)
        for _ in range(min(self._count - len(self._workers), len(todo) - starting)):
            self._spawn()

    def _wait(self) -> list[_Event]:
        """Wait for messages, deaths and missed deadlines; the list may be empty."""
        by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in self._workers}
        deadline = min(worker.deadline for worker in self._workers)
        timeout = min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
        ready = [by_pipe[pipe] for pipe in wait(list(by_pipe), timeout)]
        events = [self._receive(worker) for worker in ready]
        now = time.monotonic()
        late = [worker for worker in self._workers if worker.deadline <= now]
        return events + [self._overdue(worker) for worker in late if not worker.pipe.poll()]

    def _receive(self, worker: _Worker) -> _Event:
        kind, value = worker.receive()
        if kind == "report":
            return kind, value, worker.task
        if kind == "dead":
            self._workers.remove(worker)
            self._count_death(worker)
        elif kind == "last result":
            self._workers.remove(worker)
            worker.end()
        else:
            self._deaths_at_start = 0
        return kind, value, worker.release()

    def _overdue(self, worker: _Worker) -> _Event:
        self._workers.remove(worker)
        worker.end(timeout_s=0)
        return "overdue", TimedOut(self._limits.seconds), worker.release()

    def _count_death(self, worker: _Worker) -> None:
        if worker.started:
            return
        self._deaths_at_start += 1
        if self._deaths_at_start >= _TRIES:
            raise UserError(
                "worker processes die while starting "
                f"(exit code {worker.process.exitcode}): not enough memory? "
                "set engine.workers: 1"
            )

    def _spawn(self) -> None:
        # spawn: a forked decord reader hangs, and CUDA does not survive a fork
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._job, self._limits.memory_mb, STATE_AT_START)
        process = context.Process(target=_work, args=arguments, daemon=True)
        with _environment(ONE_THREAD), _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the children that are started inside."""
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
    """Ignore Ctrl-C, which goes to all processes of a terminal: only the parent handles it.

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


def _work(pipe: Connection, job: Job, memory_mb: float, code: str) -> None:
    """Run in the worker process: do items until None comes. Messages are (kind, value)."""
    import psutil

    global _to_parent
    _to_parent = pipe
    threading.Thread(target=end_with_parent, daemon=True).start()
    process, first = psutil.Process(), 0.0
    try:
        job.start()
        if sources_state() != code:
            raise UserError("the code of arpgnet was changed while it ran: run again")
        pipe.send(("started", None))
        # None asks the worker to end
        while (item := pipe.recv()) is not None:
            result = job.do(item)
            resident = process.memory_info().rss / 2**20
            first = first or resident
            if resident > max(memory_mb, _GROWTH * first):
                pipe.send(("last result", result))
                return
            pipe.send(("result", result))
    except UserError as error:
        pipe.send(("user error", str(error)))
    except EOFError:
        pass  # the parent is gone
    except MemoryError:
        # as if the system had killed it: a fresh process may have enough memory
        os._exit(NO_MEMORY)
    except Exception:
        pipe.send(("error", traceback.format_exc()))


def end_with_parent() -> None:
    """Exit when the parent dies: a killed parent cannot stop its workers, nor use their results.

    What was begun is lost either way when the next run starts the clip anew.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
