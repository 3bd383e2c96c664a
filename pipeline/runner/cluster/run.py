"""The items of a stage to the hosts of a Ray cluster, whatever becomes of its machines."""

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
_PATIENCE_S = 60.0
# how often machines are counted
_LOOK_S = 5.0


@dataclass(frozen=True)
class Fleet:
    """What is wanted of a cluster.

    Attributes:
        address: of a running one; empty: this machine.
        workers: hosts at a time; None: as many as the cluster has room for.
        gpus: of each host; may be a part of one.
    """

    address: str = ""
    workers: int | None = None
    gpus: float = 0.0

    @property
    def needs(self) -> dict[str, float]:
        """Of one host, in Ray's words."""
        return {"CPU": 1.0} | ({"GPU": self.gpus} if self.gpus else {})


def run_on_ray(
    job: Job,
    items: Iterable[Any],
    fleet: Fleet,
    limits: Limits,
    *,
    cores: int,
    note: Callable[[str], None],
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        cores: of this machine, which a cluster of its own gets.
        note: tells whoever watches what became of a machine.

    Raises:
        UserError: raised by the job; no cluster; or it has no machine that fits a host.
        WorkerError: any other exception in the job.
    """
    todo = deque(_Task(item) for item in items)
    with connected(fleet.address, fleet.workers or cores) as ray:
        crew = _Hosts(ray, job, fleet, limits, note)
        try:
            while todo or crew.busy:
                crew.staff(todo)
                for answer, task in crew.wait():
                    yield from _judge(answer, task, todo)
        finally:
            crew.dismiss()


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
class _Post:
    """One actor, and the answer that is awaited from it."""

    actor: Any
    awaited: Any
    started: bool = False
    task: _Task | None = None

    @property
    def idle(self) -> bool:
        return self.started and self.task is None

    def release(self) -> _Task | None:
        """The task it held."""
        task, self.task, self.awaited = self.task, None, None
        return task


class _Hosts:
    """All actors."""

    def __init__(
        self, ray: Any, job: Job, fleet: Fleet, limits: Limits, note: Callable[[str], None]
    ) -> None:
        self._ray, self._note = ray, note
        self._machines = _Machines(ray, fleet)
        # once for all actors
        self._job = ray.put(job)
        here = Path(os.path.abspath(Path()))  # noqa: PTH100
        self._about = limits, here, our_version(), our_settings()
        self._class = ray.remote(Host).options(
            num_cpus=1, num_gpus=fleet.gpus or None, max_restarts=0
        )
        self._posts: list[_Post] = []
        self._false_starts = 0

    @property
    def busy(self) -> bool:
        return any(post.task is not None for post in self._posts)

    def staff(self, todo: deque[_Task]) -> None:
        """Give every idle host a task; start as many more as there is work and room for."""
        for post in self._posts:
            if todo and post.idle:
                post.task = todo.popleft()
                post.awaited = post.actor.do.remote(post.task.item)
        starting = sum(not post.started for post in self._posts)
        room = self._machines.room() - len(self._posts)
        for _ in range(min(room, len(todo) - starting)):
            actor = self._class.remote(self._job, *self._about)
            self._posts.append(_Post(actor, actor.ready.remote()))

    def wait(self) -> list[tuple[Answer, _Task | None]]:
        """What was heard; maybe nothing yet.

        Raises:
            UserError: hosts do not start, or for a minute no machine has had room for one.
        """
        awaiting = {post.awaited: post for post in self._posts if post.awaited is not None}
        ready: list[Any] = []
        if awaiting:
            ready, _ = self._ray.wait(list(awaiting), timeout=_LOOK_S)
        else:
            time.sleep(1.0)
        heard = [self._heard(awaiting[one]) for one in ready]
        if not any(post.started for post in self._posts):
            self._machines.be_patient()
        return heard

    def dismiss(self) -> None:
        """End all of them."""
        for post in self._posts:
            self._ray.kill(post.actor)
        self._posts.clear()

    def _heard(self, post: _Post) -> tuple[Answer, _Task | None]:
        try:
            answer: Answer = self._ray.get(post.awaited)
        except self._ray.exceptions.RayActorError as error:
            self._posts.remove(post)
            self._count_loss(post, error)
            return ("lost", None), post.release()
        post.started = True
        self._false_starts = 0
        return answer, post.release()

    def _count_loss(self, post: _Post, error: Exception) -> None:
        self._machines.look_again()
        last = next(reversed(str(error).strip().splitlines()), "").strip()
        if post.started:
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

    def __init__(self, ray: Any, fleet: Fleet) -> None:
        self._ray, self._fleet = ray, fleet
        self._counted, self._at = 0, -_LOOK_S
        self._without_since: float | None = None

    def look_again(self) -> None:
        self._at = -_LOOK_S

    def room(self) -> int:
        """For how many hosts there is room; what is busy with other work included."""
        now = time.monotonic()
        if now - self._at >= _LOOK_S:
            self._counted, self._at = self._count(), now
            if self._counted:
                self._without_since = None
        wanted = self._fleet.workers
        return self._counted if wanted is None else min(self._counted, wanted)

    def be_patient(self) -> None:
        """Raises UserError when there has been no room for too long."""
        if self.room():
            return
        now = time.monotonic()
        self._without_since = self._without_since or now
        if now - self._without_since > _PATIENCE_S:
            needs = " and ".join(f"{need:g} {name}" for name, need in self._fleet.needs.items())
            raise UserError(
                f"the cluster has no machine with {needs} for a worker: add machines, or lower "
                "engine.gpus_per_worker; what was finished is kept, run again to go on"
            )

    def _count(self) -> int:
        wanted = self._fleet.needs.items()
        return sum(
            int(min(node["Resources"].get(name, 0.0) / need for name, need in wanted))
            for node in self._ray.nodes()
            if node["Alive"]
        )
