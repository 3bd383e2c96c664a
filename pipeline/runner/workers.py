"""Worker processes that may die, hang or swell: whose clip it was is known, the run goes on.

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

# how often an item is given to a worker before the item is blamed
_TRIES = 2
# a worker that needs much memory from its first item on would otherwise be replaced each time
_GROWTH = 1.5
# a worker's exit code when Python could not allocate
NO_MEMORY = 66
# what the operating system can be asked for
_LONGEST_WAIT_S = 86400.0
# for a process that was told to end, or whose pipe is closed, to be gone
_END_S = 5.0
# a worker's own end of its pipe
_to_parent: Connection | None = None


class Job(Protocol):
    """What a worker does; picklable."""

    def start(self) -> None:
        """Called once in each worker, before the first item."""

    def do(self, item: Any) -> Any:
        """One item's result; picklable."""


@dataclass(frozen=True)
class Limits:
    """When a worker is ended from outside.

    Attributes:
        seconds: for one item; then the worker is killed.
        memory_mb: resident after an item; a worker that has grown beyond this, and to 1.5
            times what it held after its first item, is replaced by a fresh one.
    """

    seconds: float = math.inf
    memory_mb: float = math.inf


@dataclass(frozen=True)
class Crashed:
    """In the place of a result: the worker died on this item, twice."""

    exit_code: int | None

    def __str__(self) -> str:
        """The same on every machine."""
        return "worker crashed"


@dataclass(frozen=True)
class TimedOut:
    """In the place of a result: the worker was killed, because the item took this long."""

    seconds: float

    def __str__(self) -> str:
        return f"took longer than {self.seconds:g} s"


class WorkerError(Exception):
    """An exception in a worker, with its traceback as text."""

    def __init__(self, item: Any, text: str) -> None:
        super().__init__(text)
        self.item = item


def cores() -> int:
    """Cores this process may use: its affinity, and a container's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count or 1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup, or "max": no quota
    return max(1, count or 1)


def tell(value: Any) -> None:
    """What a job has to say of its item before that is done; picklable."""
    assert _to_parent is not None, "only a worker has somebody to tell"
    _to_parent.send(("told", value))


def run_in_workers(
    job: Job,
    items: Iterable[Any],
    count: int,
    limits: Limits | None = None,
    told: Callable[[Any, Any], None] = lambda item, value: None,
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        count: processes at a time, no more than there are items; each holds one item, so
            nothing piles up.
        told: is called with the item and what its worker tells (`tell`); again from the start
            when the item is given to another worker.

    Raises:
        UserError: raised by the job, or the workers die before their first item.
        WorkerError: any other exception in the job.
    """
    crew = Crew(job, count, limits or Limits(), told)
    try:
        yield from crew.run(items)
    finally:
        crew.dismiss()


@dataclass
class _Task:
    item: Any
    tries: int = 0


# what became of a worker: a kind of message, its value, and the task that it held
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

    def give(self, task: _Task, seconds: float) -> None:
        task.tries += 1
        self.task, self.deadline = task, time.monotonic() + seconds
        self._send(task.item)

    def receive(self) -> tuple[str, Any]:
        """The next message; "dead" when the process is."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.end()
            return "dead", Crashed(self.process.exitcode)
        self.started = True
        return message

    def release(self) -> _Task | None:
        """The task it held."""
        task, self.task, self.deadline = self.task, None, math.inf
        return task

    def call_off(self) -> None:
        """Tell it to end; at once when it is at work, for nobody waits for the result."""
        if self.idle:
            self._send(None)
        else:
            self.process.terminate()

    def end(self, patience_s: float = _END_S) -> None:
        """Wait for the process to end, then make it."""
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()

    def _send(self, item: Any) -> None:
        # when it has died, the next `receive` finds out
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(item)


class Crew:
    """All worker processes, which stay from one `run` to the next. `dismiss` ends them."""

    def __init__(
        self,
        job: Job,
        count: int,
        limits: Limits,
        told: Callable[[Any, Any], None] = lambda item, value: None,
    ) -> None:
        self._job = job
        self._count = count
        self._limits = limits
        self._told = told
        self._workers: list[_Worker] = []
        self._deaths_at_start = 0

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """As `run_in_workers`, whose errors it raises."""
        todo = deque(_Task(item) for item in items)
        while todo or self._busy:
            self._staff(todo)
            for kind, value, task in self._wait():
                if kind == "user error":
                    raise UserError(value)
                if kind == "error":
                    raise WorkerError(task and task.item, value)
                if task is None:
                    continue
                if kind == "told":
                    self._told(task.item, value)
                    continue
                if kind == "dead" and task.tries < _TRIES:
                    todo.appendleft(task)
                else:
                    self._staff(todo)
                    yield task.item, value

    def dismiss(self) -> None:
        """End all of them."""
        for worker in self._workers:
            worker.call_off()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    @property
    def _busy(self) -> bool:
        return any(worker.task is not None for worker in self._workers)

    def _staff(self, todo: deque[_Task]) -> None:
        """Give every idle worker a task; start as many more as there is work for."""
        for worker in self._workers:
            if todo and worker.idle:
                worker.give(todo.popleft(), self._limits.seconds)
        starting = sum(not worker.started for worker in self._workers)
        for _ in range(min(self._count - len(self._workers), len(todo) - starting)):
            self._hire()

    def _wait(self) -> list[_Event]:
        """What happened: messages, deaths and missed deadlines; maybe nothing yet."""
        by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in self._workers}
        deadline = min(worker.deadline for worker in self._workers)
        patience = min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
        ready = [by_pipe[pipe] for pipe in wait(list(by_pipe), patience)]
        events = [self._heard(worker) for worker in ready]
        now = time.monotonic()
        late = [worker for worker in self._workers if worker.deadline <= now]
        return events + [self._overdue(worker) for worker in late if not worker.pipe.poll()]

    def _heard(self, worker: _Worker) -> _Event:
        kind, value = worker.receive()
        if kind == "told":
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
        worker.end(patience_s=0)
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

    def _hire(self) -> None:
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


def _work(pipe: Connection, job: Job, memory_mb: float, code: str) -> None:
    """A worker's life: messages are (kind, value)."""
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
        # None is the call to end
        while (item := pipe.recv()) is not None:
            result = job.do(item)
            held = process.memory_info().rss / 2**20
            first = first or held
            if held > max(memory_mb, _GROWTH * first):
                pipe.send(("last result", result))
                return
            pipe.send(("result", result))
    except UserError as error:
        pipe.send(("user error", str(error)))
    except EOFError:
        pass  # the parent is gone
    except MemoryError:
        # as if the system had killed it: a fresh process may have room
        os._exit(NO_MEMORY)
    except Exception:
        pipe.send(("error", traceback.format_exc()))


def end_with_parent() -> None:
    """A killed parent cannot call its workers off, and what they compute is of no use to it.

    What was begun is lost either way when the next run starts the clip anew.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
