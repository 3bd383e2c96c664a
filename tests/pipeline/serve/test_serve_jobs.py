"""The queue, its bounds, cancelling, and results that go when their time has come."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.serve.jobs import Busy, Job, Jobs, Wanted
from arpgnet.pipeline.serve.worker import Outcome, Task
from helpers.serving import MadeUp, wait_for


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker() -> MadeUp:
    return MadeUp()


@pytest.fixture
def jobs(tmp_path: Path, worker: MadeUp, clock: Clock) -> Iterator[Jobs]:
    made = Jobs(tmp_path, [worker], waiting=1, keep_s=3600, clock=clock)
    made.start()
    yield made
    made.stop()


def sent(jobs: Jobs, content: str = "video") -> Job:
    job = jobs.reserve("talk.mp4", Wanted())
    job.upload.write_text(content)
    jobs.submit(job, job.upload)
    return job


def test_a_job_goes_through_its_states(jobs: Jobs, worker: MadeUp, clock: Clock) -> None:
    job = jobs.reserve("talk.mp4", Wanted())
    assert (job.state, job.files()) == ("uploading", {})
    job.upload.write_text("video")
    jobs.submit(job, job.upload)
    wait_for(lambda: job.done == 1)
    assert (job.state, job.files()) == ("running", {})
    clock.now += 4
    assert job.seconds_left(clock.now) == (0.25, 4.0)
    worker.go.set()
    wait_for(lambda: job.state == "done")
    assert {kind: path.name for kind, path in job.files().items()} == {
        "table": "result.csv",
        "page": "result.html",
    }
    assert job.files()["table"].read_text() == "video"
    assert not job.upload.exists()
    assert job.seconds_left(clock.now + 100) == (0.5, None)


def test_ids_cannot_be_guessed(jobs: Jobs, worker: MadeUp) -> None:
    worker.go.set()
    ids = set()
    for _ in range(20):
        job = sent(jobs)
        ids.add(job.id)
        wait_for(lambda job=job: job.state == "done")  # type: ignore[misc]
    assert len(ids) == 20
    assert all(len(number) == 32 and set(number) <= set("0123456789abcdef") for number in ids)


def test_one_runs_one_waits_and_a_third_is_turned_away(jobs: Jobs, worker: MadeUp) -> None:
    first, second = sent(jobs), sent(jobs)
    with pytest.raises(Busy):
        jobs.reserve("third.mp4", Wanted())
    wait_for(lambda: first.state == "running")
    assert (second.state, jobs.ahead(second)) == ("queued", 1)
    worker.go.set()
    wait_for(lambda: second.state == "done")
    assert sent(jobs).state in ("queued", "running", "done")


def test_an_upload_that_has_not_come_yet_takes_a_place_too(jobs: Jobs) -> None:
    waiting = [jobs.reserve("a.mp4", Wanted()) for _ in range(2)]
    with pytest.raises(Busy):
        jobs.reserve("b.mp4", Wanted())
    jobs.remove(waiting[0])
    assert jobs.get(waiting[0].id) is None
    assert not waiting[0].folder.exists()
    jobs.reserve("b.mp4", Wanted())


def test_a_job_can_be_cancelled_while_it_waits_and_while_it_runs(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(folder: Path, ignore_errors: bool) -> None:
        time.sleep(0.1)
        rmtree(folder, ignore_errors)

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", slowly)
    first, second = sent(jobs), sent(jobs)
    wait_for(lambda: first.state == "running")
    for job in (second, first):
        jobs.remove(job)
        wait_for(lambda job=job: job.state == "cancelled")  # type: ignore[misc]
        assert not job.folder.exists()
        # known until it is removed once more
        assert jobs.get(job.id) is job
        jobs.remove(job)
        assert jobs.get(job.id) is None


def test_what_fails_is_a_line_and_keeps_what_there_is(jobs: Jobs, worker: MadeUp) -> None:
    worker.fails = "damaged after frame 2"
    worker.go.set()
    job = sent(jobs)
    wait_for(lambda: job.state == "failed")
    assert (job.error, job.complete) == ("damaged after frame 2", False)
    assert set(job.files()) == {"table", "page"}


class Deaf(MadeUp):
    """Ends as if nobody had cancelled."""

    def run(
        self, task: Task, progress: Callable[[int, int], None], cancelled: threading.Event
    ) -> Outcome:
        return super().run(task, progress, threading.Event())


def test_what_was_cancelled_as_it_ended_leaves_nothing(tmp_path: Path) -> None:
    worker = Deaf()
    jobs = Jobs(tmp_path, [worker])
    jobs.start()
    job = sent(jobs)
    wait_for(lambda: job.state == "running")
    jobs.remove(job)
    worker.go.set()
    wait_for(lambda: job.state == "cancelled")
    assert list(tmp_path.iterdir()) == []
    jobs.stop()


class Broken(MadeUp):
    """Cannot be started anew, once."""

    broken = True

    def run(
        self, task: Task, progress: Callable[[int, int], None], cancelled: threading.Event
    ) -> Outcome:
        if self.broken:
            self.broken = False
            raise UserError("params.yaml was not found")
        return super().run(task, progress, cancelled)


def test_a_job_that_fails_takes_nothing_down(tmp_path: Path) -> None:
    worker = Broken()
    worker.go.set()
    jobs = Jobs(tmp_path, [worker])
    jobs.start()
    first, second = sent(jobs), sent(jobs)
    wait_for(lambda: second.state == "done")
    assert (first.state, first.error) == ("failed", "params.yaml was not found")
    jobs.stop()


def test_results_go_when_their_time_has_come(jobs: Jobs, worker: MadeUp, clock: Clock) -> None:
    worker.go.set()
    job = sent(jobs)
    wait_for(lambda: job.state == "done")
    clock.now += 3599
    assert jobs.get(job.id) is job
    clock.now += 2
    assert jobs.get(job.id) is None
    assert not job.folder.exists()


def test_what_has_not_ended_does_not_expire(jobs: Jobs, clock: Clock) -> None:
    job = sent(jobs)
    clock.now += 1e6
    assert jobs.get(job.id) is job


@pytest.mark.parametrize("keep", [False, True])
def test_at_the_end_only_kept_results_are_left(tmp_path: Path, clock: Clock, keep: bool) -> None:
    worker = MadeUp()
    worker.go.set()
    jobs = Jobs(tmp_path, [worker], waiting=3, keep_s=10, keep_files=keep, clock=clock)
    jobs.start()
    done, old = sent(jobs), sent(jobs)
    wait_for(lambda: old.state == "done")
    clock.now += 11
    assert jobs.get(old.id) is None
    worker.go.clear()
    running, uploading = sent(jobs), jobs.reserve("b.mp4", Wanted())
    wait_for(lambda: running.state == "running")
    jobs.stop()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({done.id, old.id} if keep else set())
    assert uploading.id not in left
    for folder in tmp_path.iterdir():
        assert {path.name for path in folder.iterdir()} == {"result.csv", "result.html"}
