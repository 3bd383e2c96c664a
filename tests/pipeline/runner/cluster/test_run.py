"""The cluster engine against the local one, with clips and machines that misbehave."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import partial
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner import assembly, dispatch, engine
from arpgnet.pipeline.runner.cluster import run as cluster_run
from arpgnet.pipeline.runner.cluster.connect import connected
from arpgnet.pipeline.runner.cluster.host import Host, our_version
from arpgnet.pipeline.runner.cluster.run import ClusterSpec, run_on_ray
from arpgnet.pipeline.runner.engine import Summary, run_clips
from arpgnet.pipeline.runner.work import ClipJob
from arpgnet.pipeline.runner.workers import Crashed, Job, Limits, WorkerError
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import Clip
from helpers.ray_cluster import Cluster, Environment
from helpers.squares import SlowParts, Squares, clips, contents


@dataclass(frozen=True)
class Run:
    """Both engines on the same clips, each with a store of its own."""

    folder: Path
    address: str

    def on(self, engine: str, work: Squares, some: list[Clip], **settings: object) -> Summary:
        params = EngineParams.model_validate(
            {"name": engine, "address": self.address if engine == "ray" else ""} | settings
        )
        store = Store(self.folder / f"store-{engine}")
        return run_clips(work, some, self.folder / engine, params, store=store)

    def same(self) -> bool:
        return contents(self.folder / "ray") == contents(self.folder / "local")


@pytest.fixture
def run(tmp_path: Path, machines: Cluster) -> Run:
    return Run(tmp_path, machines.address)


@pytest.fixture
def work(tmp_path: Path) -> Squares:
    (tmp_path / "traces").mkdir()
    return Squares(tmp_path / "traces")


@contextlib.contextmanager
def one_killed(machines: Cluster, when: Callable[[], bool]) -> Iterator[None]:
    """The last machine, as soon as `when` says so; afterwards there is another."""

    def kill() -> None:
        while not when():
            time.sleep(0.01)
        machines.nodes[-1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()
        machines.add()


@pytest.mark.slow
def test_the_outs_bytes_are_those_of_the_local_engine(run: Run, work: Squares) -> None:
    some = clips(20, c3="bad", c5="dies", c9="dies once")
    assert run.on("ray", work, some) == Summary(done=18, reused=0, quarantined=2)
    assert work.count("c5") == work.count("c9") == 2
    assert run.on("local", work, some).done == 18
    assert run.same()
    before = work.count()
    # but for the clip that killed its worker, which is tried again
    assert run.on("ray", work, clips(20, c3="bad", c5="bad")).done == 0
    assert work.count() == before + 1


@pytest.mark.slow
def test_a_machine_is_killed_while_the_output_is_written(
    run: Run, work: Squares, machines: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machines write its files, the other one those of the lost one too."""
    monkeypatch.setattr(assembly, "TARGET_BYTES", 1)
    monkeypatch.setattr(assembly, "MANY", 2)
    monkeypatch.setattr(engine, "PartJob", SlowParts)
    fresh, some, written = partial(run.folder / "ray"), clips(30, c3="bad"), 0
    jobs = []

    def noted(job: Job, *about: Any, **more: Any) -> Any:
        jobs.append(type(job))
        return run_on_ray(job, *about, **more)

    monkeypatch.setattr(dispatch, "run_on_ray", noted)

    def some_are_written() -> bool:
        nonlocal written
        written = sum(path.stat().st_size > 0 for path in fresh.glob("part-*"))
        return written >= 8

    with one_killed(machines, some_are_written):
        assert run.on("ray", work, some) == Summary(29, 0, 1)
    assert jobs == [ClipJob, SlowParts]
    assert 8 <= written < 29
    assert work.count() == 30
    monkeypatch.setattr(assembly, "FEW", 100)
    run.on("local", work, some)
    assert run.same()


@pytest.mark.slow
def test_a_clip_that_hangs_costs_its_time(run: Run, work: Squares) -> None:
    some = clips(4, c1="hangs")
    assert run.on("ray", work, some, clip_timeout_s=2.0) == Summary(3, 0, 1)
    assert run.on("local", work, some, clip_timeout_s=2.0) == Summary(3, 0, 1)
    assert run.same()


@pytest.mark.slow
def test_errors_come_back_as_from_here(run: Run, work: Squares) -> None:
    with pytest.raises(UserError, match=r"^models are absent: fetch them$"):
        run.on("ray", work, clips(3, c1="mistake"))
    with pytest.raises(RuntimeError, match=r"(?s)^clip c1: .*KeyError: 'oops'"):
        run.on("ray", work, clips(3, c1="bug"))


@pytest.mark.slow
def test_a_machine_is_killed_in_the_middle(run: Run, machines: Cluster, tmp_path: Path) -> None:
    """What it held goes to the other one, and nothing that was finished is done again."""
    (tmp_path / "traces").mkdir()
    work, some = Squares(tmp_path / "traces", nap_s=0.2), clips(40, c7="bad")
    with one_killed(machines, lambda: work.count() >= 12):
        assert run.on("ray", work, some) == Summary(39, 0, 1)
    # each machine held one
    assert 40 <= work.count() <= 41
    run.on("local", work, some)
    assert run.same()


@dataclass(frozen=True)
class Halves:
    """Divides; picklable as any job."""

    def start(self) -> None: ...

    def do(self, item: int) -> float:
        return item / 2


def test_no_machine_has_what_a_worker_needs(
    machines: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "_CAPACITY_TIMEOUT_S", 0.5)
    wanted = ClusterSpec(machines.address, gpus=0.5)
    with pytest.raises(UserError, match=r"no machine with 1 CPU and 0.5 GPU .*gpus_per_worker"):
        list(run_on_ray(Halves(), [1], wanted, Limits(), cores=1, note=print))


def test_settings_go_with_the_work_and_secrets_do_not(
    machines: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_SECRET_ACCESS_KEY": "never tell"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    spec = ClusterSpec(machines.address, workers=1)
    found = dict(run_on_ray(Environment(), said, spec, Limits(), cores=1, note=print))
    assert found == {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_SECRET_ACCESS_KEY": None}


def test_nobody_answers() -> None:
    with pytest.raises(UserError, match=r"^engine.address: no Ray cluster answers at 127.0.0.1:1 "):
        connected("127.0.0.1:1", 1).__enter__()


@pytest.mark.parametrize(
    ("folder", "version", "said"),
    [("/nowhere", None, "cannot enter /nowhere"), (".", "older", "another version of arpgnet")],
)
def test_a_machine_that_is_not_set_up_says_so(folder: str, version: str | None, said: str) -> None:
    host = Host(Halves(), Limits(), Path(folder), version or our_version(), {})
    kind, text = host.ready()
    assert kind == "user error"
    assert said in text


def test_what_kills_every_machine_is_blamed_in_the_end() -> None:
    todo = cluster_run.deque[cluster_run._Task]()
    task = cluster_run._Task("clip")
    judged = [list(cluster_run._judge(("lost", None), task, todo)) for _ in range(5)]
    assert judged == [[], [], [], [], [("clip", Crashed(None))]]
    with pytest.raises(WorkerError):
        list(cluster_run._judge(("error", "text"), task, todo))
