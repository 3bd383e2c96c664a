"""Jobs: a bounded queue for the workers, and results that expire."""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.formats import SUFFIX, Format
from arpgnet.pipeline.serve.worker import CANCELLED, TABLE, Outcome, Ready, Task

State = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
ENDED = frozenset({"done", "failed", "cancelled"})
# the files of a job that may be fetched, by kind
PAGE, FILM, OVERLAY = f"{TABLE}.html", f"{TABLE}.page.mp4", f"{TABLE}.overlay.mp4"
UPLOAD = "upload"


@dataclass(frozen=True)
class Wanted:
    """The outputs that a client requests."""

    form: Format = "csv"
    landmarks: bool = False
    overlay: bool = False
    blur_faces: bool = False


@dataclass
class Job:
    """A video to predict, and its state; times are those of `time.monotonic`."""

    id: str
    name: str
    folder: Path
    wanted: Wanted
    state: State = "uploading"
    error: str | None = None
    done: int = 0
    total: int | None = None
    faces: int | None = None
    complete: bool | None = None
    warning: str = ""
    video: Path | None = None
    began: float = 0.0
    ended: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def upload(self) -> Path:
        """Path of the uploaded video until the job has ended."""
        return self.folder / UPLOAD

    def files(self) -> dict[str, Path]:
        """The existing files that can be fetched, by kind; their names are fixed."""
        if self.state not in ("done", "failed"):
            return {}
        names = {
            "table": f"{TABLE}{SUFFIX[self.wanted.form]}",
            "page": PAGE,
            "film": FILM,
            "overlay": OVERLAY,
        }
        paths = {kind: self.folder / name for kind, name in names.items()}
        return {kind: path for kind, path in paths.items() if path.is_file()}

    def saved_as(self, name: str) -> str:
        """Return what a file of the job is called where a client saves it: as its video."""
        # the page refers to the film by its own name
        return name if name == FILM else Path(self.name).stem + name.removeprefix(TABLE)

    def seconds_left(self, now: float) -> tuple[float | None, float | None]:
        """Frames per second so far, and seconds left at that rate; None while unknown."""
        took = (self.ended or now) - self.began
        if not (self.began and self.done and took > 0):
            return None, None
        rate = self.done / took
        left = (self.total - self.done) / rate if self.total and self.state == "running" else None
        return rate, left


class Reader(Protocol):
    """Predicts one video at a time, in a thread of its own: a `Worker`."""

    def start(self) -> Ready: ...

    def run(
        self, task: Task, progress: Callable[[int, int], None], cancelled: threading.Event
    ) -> Outcome: ...

    def stop(self) -> None: ...


class Busy(Exception):  # noqa: N818 - an answer, not a fault
    """The queue is full."""


class Jobs:
    """All jobs of a service.

    Args:
        folder: of the jobs' own folders; it exists.
        workers: read a video at a time each.
        waiting: jobs beside them that may be uploaded or wait.
        keep_s: seconds from a job's end to its being forgotten.
        keep_files: whether the files of a forgotten job stay.

    May be used by many threads.
    """

    def __init__(
        self,
        folder: Path,
        workers: Sequence[Reader],
        *,
        waiting: int = 4,
        keep_s: float = 86400.0,
        keep_files: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._keep_s, self._keep_files = keep_s, keep_files
        self._room = len(workers) + waiting
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._workers = workers
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), daemon=True)
            for worker in self._workers
        ]

    def start(self) -> Ready:
        """Load the networks.

        Raises:
            UserError: they cannot be.
        """
        ready = [worker.start() for worker in self._workers]
        for thread in self._threads:
            thread.start()
        return ready[0]

    def stop(self) -> None:
        """Cancel running jobs and stop the workers; unless files are kept, delete all of them."""
        with self._lock:
            jobs = list(self._jobs.values())
            for job in jobs:
                job.cancelled.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for worker in self._workers:
            worker.stop()
        for job in jobs:
            if not (self._keep_files and job.state in ("done", "failed")):
                shutil.rmtree(job.folder, ignore_errors=True)

    def reserve(self, name: str, wanted: Wanted) -> Job:
        """Create a job with a folder of its own, whose video is still to be uploaded.

        Raises:
            Busy: the queue is full.
        """
        with self._lock:
            self.expire()
            if sum(job.state not in ENDED for job in self._jobs.values()) >= self._room:
                raise Busy
            number = secrets.token_hex(16)
            job = Job(number, name, self.folder / number, wanted)
            job.folder.mkdir(mode=0o700)
            self._jobs[number] = job
            return job

    def submit(self, job: Job, video: Path) -> None:
        """Queue a job whose video is complete."""
        with self._lock:
            job.state, job.video = "queued", video
        self._queue.put(job)

    def get(self, number: str) -> Job | None:
        """Return a job by its id."""
        with self._lock:
            self.expire()
            return self._jobs.get(number)

    def ahead(self, job: Job) -> int:
        """Count the jobs before a waiting one."""
        with self._lock:
            names = [each.id for each in self._jobs.values() if each.state not in ENDED]
            return names.index(job.id) if job.id in names else 0

    def remove(self, job: Job) -> None:
        """Cancel a job that has not ended, which stays listed as canceled; forget one that has.
        Its files are deleted."""
        with self._lock:
            job.cancelled.set()
            if job.state == "running":
                return  # its thread cleans up
            if job.state == "queued":
                self._end(job, CANCELLED)
                return
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def expire(self) -> None:
        """Forget expired jobs."""
        now = self._clock()
        with self._lock:
            old = [
                job
                for job in self._jobs.values()
                if job.state in ENDED and now - job.ended > self._keep_s
            ]
            for job in old:
                del self._jobs[job.id]
        for job in old:
            if not self._keep_files:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _serve(self, worker: Reader) -> None:
        """Run jobs until the service stops, in a thread."""
        while (job := self._queue.get()) is not None:
            with self._lock:
                if job.state != "queued" or job.cancelled.is_set():
                    continue
                job.state, job.began = "running", self._clock()
            assert job.video is not None
            task = Task(job.video, job.folder, job.name, **vars(job.wanted))
            try:
                outcome = worker.run(task, self._follower(job), job.cancelled)
            except UserError as error:
                outcome = Outcome("failed", str(error))
            with self._lock:
                if job.cancelled.is_set():
                    # also if the worker had finished before it noticed
                    outcome = CANCELLED
                self._end(job, outcome)

    def _follower(self, job: Job) -> Callable[[int, int], None]:
        def follow(done: int, total: int) -> None:
            job.done, job.total = done, total

        return follow

    def _end(self, job: Job, outcome: Outcome) -> None:
        # the upload is not needed anymore
        job.upload.unlink(missing_ok=True)
        if outcome.state == "cancelled":
            shutil.rmtree(job.folder, ignore_errors=True)
        job.error, job.faces, job.complete = outcome.line, outcome.faces, outcome.complete
        job.warning = outcome.warning
        job.ended = self._clock()
        # last: whoever reads the state without the lock may rely on the rest
        job.state = outcome.state
