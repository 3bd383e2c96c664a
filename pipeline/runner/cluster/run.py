"""Send the items of a stage to the hosts of a Ray cluster, and survive the loss of machines."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.runner.cluster.connect import connected
from arpgnet.pipeline.runner.cluster.host import Answer, Host, our_settings, our_version
from arpgnet.pipeline.runner.workers import Crashed, Job, Limits, WorkerError

# an item whose machine was lost this often may be what brings machines down
_TRIES = 5
# hosts that are lost before they are ready, one after the other
_FALSE_STARTS = 4
# without any host: machines may be about to come
_CAPACITY_TIMEOUT_S = 60.0
# how often machines are counted
_LOOK_S = 5.0


@dataclass(frozen=True)
class ClusterSpec:
    """The resources requested of a cluster.

    Attributes:
        address: of a running one; empty: this machine.
        workers: hosts at a time; None: as many as the cluster can start.
        gpus: of each host; may be a part of one.
    """

    address: str = ""
    workers: int | None = None
    gpus: float = 0.0

    @property
    def needs(self) -> dict[str, float]:
        """Return the resources of one host by Ray's names."""
        return {"CPU": 1.0} | ({"GPU": self.gpus} if self.gpus else {})


def run_on_ray(
    job: Job,
    items: Iterable[Any],
    spec: ClusterSpec,
    limits: Limits,
    *,
    cores: int,
    note: Callable[[str], None],
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        cores: of this machine, which a cluster of its own gets.
        note: receives messages about lost machines.

    Raises:
        UserError: raised by the job; no cluster; or it has no machine that fits a host.
        WorkerError: any other exception in the job.
    """
    todo = deque(_Task(item) for item in items)
    with connected(spec.address, spec.workers or cores) as ray:
        hosts = _Hosts(ray, job, spec, limits, note)
        try:
            while todo or hosts.busy:
                hosts.dispatch(todo)
                for answer, task in hosts.wait():
                    yield from _judge(answer, task, todo)
        finally:
            hosts.shutdown()


@dataclass
class _Task:
    item: Any
    lost: int = 0


def _judge(answer: Answer, task: _Task | None, todo: deque[_Task]) -> Iterator[tuple[Any, Any]]:
    kind, value = answer
    if kind == "user error":
        raise UserError(value)
    if kind == "error":
        raise WorkerError(task and task.item, value)
    if task is None:
        return
    if kind == "result":
        yield task.item, value
        return
    task.lost += 1
    if task.lost < _TRIES:
        todo.appendleft(task)
    else:
        yield task.item, Crashed(None)


@dataclass
class _ActorHandle:
    """An actor, and the answer that is awaited from it."""

    actor: Any
    awaited: Any
    started: bool = False
    task: _Task | None = None

    @property
    def idle(self) -> bool:
        return self.started and self.task is None

    def release(self) -> _Task | None:
        """Take the task back."""
        task, self.task, self.awaited = self.task, None, None
        return task


class _Hosts:
    """All actors."""

    def __init__(
        self, ray: Any, job: Job, spec: ClusterSpec, limits: Limits, note: Callable[[str], None]
    ) -> None:
        self._ray, self._note = ray, note
        self._machines = _Machines(ray, spec)
        # once for all actors
        self._job = ray.put(job)
        here = Path(os.path.abspath(Path()))  # noqa: PTH100
        self._about = limits, here, our_version(), our_settings()
        self._class = ray.remote(Host).options(
            num_cpus=1, num_gpus=spec.gpus or None, max_restarts=0
        )
        self._handles: list[_ActorHandle] = []
        self._false_starts = 0

    @property
    def busy(self) -> bool:
        return any(handle.task is not None for handle in self._handles)

    def dispatch(self, todo: deque[_Task]) -> None:
        """Assign a task to every idle host; start more while there is work and capacity."""
        for handle in self._handles:
            if todo and handle.idle:
                handle.task = todo.popleft()
                handle.awaited = handle.actor.do.remote(handle.task.item)
        starting = sum(not handle.started for handle in self._handles)
        capacity = self._machines.capacity() - len(self._handles)
        for _ in range(min(capacity, len(todo) - starting)):
            actor = self._class.remote(self._job, *self._about)
            self._handles.append(_ActorHandle(actor, actor.ready.remote()))

    def wait(self) -> list[tuple[Answer, _Task | None]]:
        """Wait for answers; the list may be empty.

        Raises:
            UserError: hosts do not start, or for a minute no machine has had capacity for one.
        """
        awaiting = {
            handle.awaited: handle for handle in self._handles if handle.awaited is not None
        }
        ready: list[Any] = []
        if awaiting:
            ready, _ = self._ray.wait(list(awaiting), timeout=_LOOK_S)
        else:
            time.sleep(1.0)
        received = [self._receive(awaiting[one]) for one in ready]
        if not any(handle.started for handle in self._handles):
            self._machines.check_capacity()
        return received

    def shutdown(self) -> None:
        """End all actors."""
        for handle in self._handles:
            self._ray.kill(handle.actor)
        self._handles.clear()

    def _receive(self, handle: _ActorHandle) -> tuple[Answer, _Task | None]:
        try:
            answer: Answer = self._ray.get(handle.awaited)
        except self._ray.exceptions.RayActorError as error:
            self._handles.remove(handle)
            self._count_loss(handle, error)
            return ("lost", None), handle.release()
        handle.started = True
        self._false_starts = 0
        return answer, handle.release()

    def _count_loss(self, handle: _ActorHandle, error: Exception) -> None:
        self._machines.look_again()
        last = next(reversed(str(error).strip().splitlines()), "").strip()
        if handle.started:
            self._note(f"cluster: a worker is lost, its clip goes to another ({last[:200]})")
            return
        self._false_starts += 1
        if self._false_starts >= _FALSE_STARTS:
            raise UserError(
                f"workers of the cluster do not start ({last[:200]}): is this project installed "
                "on every machine?"
            )


class _Machines:
    """The machines of the cluster, counted now and then."""

    def __init__(self, ray: Any, spec: ClusterSpec) -> None:
        self._ray, self._spec = ray, spec
        self._counted, self._at = 0, -_LOOK_S
        self._none_since: float | None = None

    def look_again(self) -> None:
        self._at = -_LOOK_S

    def capacity(self) -> int:
        """Count the hosts that the cluster can run, including what is busy with other work."""
        now = time.monotonic()
        if now - self._at >= _LOOK_S:
            self._counted, self._at = self._count(), now
            if self._counted:
                self._none_since = None
        wanted = self._spec.workers
        return self._counted if wanted is None else min(self._counted, wanted)

    def check_capacity(self) -> None:
        """Raise UserError when there has been no capacity for too long."""
        if self.capacity():
            return
        now = time.monotonic()
        self._none_since = self._none_since or now
        if now - self._none_since > _CAPACITY_TIMEOUT_S:
            needs = " and ".join(f"{need:g} {name}" for name, need in self._spec.needs.items())
            raise UserError(
                f"the cluster has no machine with {needs} for a worker: add machines, or lower "
                "engine.gpus_per_worker; finished results are cached, run again to continue"
            )

    def _count(self) -> int:
        wanted = self._spec.needs.items()
        return sum(
            int(min(node["Resources"].get(name, 0.0) / need for name, need in wanted))
            for node in self._ray.nodes()
            if node["Alive"]
        )
