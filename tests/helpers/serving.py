"""Services for tests: one whose worker is made up, in this process, and a real one."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from arpgnet.pipeline.serve.app import Limits, make_app
from arpgnet.pipeline.serve.guard import Access
from arpgnet.pipeline.serve.jobs import Jobs
from arpgnet.pipeline.serve.run import listening
from arpgnet.pipeline.serve.uploads import Pace
from arpgnet.pipeline.serve.worker import CANCELLED, TABLE, Outcome, Ready, Task

MADE_UP = Ready("made-up", ["anger", "happiness"])
LOCAL = "http://127.0.0.1:8765"


@dataclass
class MadeUp:
    """A worker that copies a video into its table once it may, or says what it was told to."""

    go: threading.Event = field(default_factory=threading.Event)
    fails: str | None = None
    ready: Ready = MADE_UP

    def start(self) -> Ready:
        return self.ready

    def run(
        self, task: Task, progress: Callable[[int, int], None], cancelled: threading.Event
    ) -> Outcome:
        progress(1, 2)
        while not self.go.wait(0.01):
            if cancelled.is_set():
                return CANCELLED
        progress(2, 2)
        (task.folder / f"{TABLE}.csv").write_bytes(task.video.read_bytes())
        (task.folder / f"{TABLE}.html").write_text("<h1>page</h1>")
        return Outcome("failed" if self.fails else "done", self.fails, 1, not self.fails)

    def stop(self) -> None:
        self.go.set()


@dataclass
class Service:
    jobs: Jobs
    worker: MadeUp
    folder: Path
    port: int

    def client(self, **headers: str) -> httpx.Client:
        """Calls the service by `LOCAL`, whatever its port is."""
        host = LOCAL.removeprefix("http://")
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"host": host} | headers
        )

    def files(self) -> set[str]:
        # unlike rglob, walk does not mind a folder that goes away meanwhile
        return {
            str((Path(folder) / name).relative_to(self.folder))
            for folder, folders, names in os.walk(self.folder)
            for name in (*folders, *names)
        }


@contextmanager
def service(
    folder: Path,
    *,
    access: Access | None = None,
    root: Path | None = None,
    upload_bytes: int = 100_000,
    pace: Pace | None = None,
    waiting: int = 1,
    ready: Ready = MADE_UP,
) -> Iterator[Service]:
    worker = MadeUp(ready=ready)
    folder.mkdir(exist_ok=True)
    jobs = Jobs(folder, [worker], waiting=waiting)
    loaded = jobs.start()
    limits = Limits(upload_bytes, 60.0, 3600.0, root=root, pace=pace or Pace())
    guard = make_app(jobs, loaded, limits, access or Access())
    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(guard, log_level="warning", lifespan="on", ws="none")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Service(jobs, worker, folder, listener.getsockname()[1])
        finally:
            running.should_exit = True
            thread.join()
            jobs.stop()


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "never"
        time.sleep(0.01)


@dataclass
class Server:
    """`arpgnet serve` as a process of its own."""

    process: subprocess.Popen[str]
    port: int
    token: str | None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def server(model: Path, *arguments: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "arpgnet.pipeline.cli", "serve",
         "--model", str(model), "--port", "0",
         "--window", "0.6", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        port = re.search(r":(\d+)/", said)
        assert port, said
        token = None
        if "0.0.0.0" in arguments:
            token = process.stdout.readline().rsplit(" ", 1)[-1].strip()
        yield Server(process, int(port[1]), token)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
