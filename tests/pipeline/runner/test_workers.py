import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.runner import workers
from arpgnet.pipeline.runner.workers import (
    NO_MEMORY,
    Crashed,
    Limits,
    TimedOut,
    WorkerError,
    run_in_workers,
)
from helpers.predict_process import default_ctrl_c


@dataclass(frozen=True)
class Arithmetic:
    """12 over the item; on 99 the process ends, on -1 it reports its environment."""

    dies_at_start: bool = False

    def start(self) -> None:
        if self.dies_at_start:
            os._exit(3)

    def do(self, item: int) -> object:
        if item == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 98:
            raise MemoryError
        return os.environ["OMP_NUM_THREADS"] if item == -1 else 12 / item


@pytest.mark.parametrize("count", [1, 2])
def test_workers_do_not_compute_with_other_code_than_their_parent(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their results would lie under keys of the former code."""
    monkeypatch.setattr(workers, "STATE_AT_START", "another")
    with pytest.raises(UserError, match="was changed while it ran: run again"):
        list(run_in_workers(Arithmetic(), [1, 2, 3], count))


@dataclass(frozen=True)
class Naps:
    """Sleeps for as many seconds as the item says, deaf to a polite end."""

    start_s: float = 0.0

    def start(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(self.start_s)

    def do(self, item: float) -> int:
        time.sleep(item)
        return os.getpid()


@dataclass
class Hoard:
    """Keeps as many MB more with every item, after `first_mb` with the first."""

    first_mb: int = 0

    def start(self) -> None:
        self.kept = [b"x" * (self.first_mb << 20)]

    def do(self, item: tuple[int, int]) -> int:
        _, megabytes = item
        self.kept.append(b"x" * (megabytes << 20))
        return os.getpid()


def test_every_item_gets_its_result() -> None:
    results = dict(run_in_workers(Arithmetic(), [1, 2, 99, 3, 4], 2))
    assert results == {1: 12, 2: 6, 3: 4, 4: 3, 99: Crashed(-signal.SIGKILL)}


def test_lack_of_memory_is_no_bug() -> None:
    results = dict(run_in_workers(Arithmetic(), [1, 98, 2], 1))
    assert results == {1: 12, 98: Crashed(NO_MEMORY), 2: 6}


def test_an_item_that_hangs_costs_its_time_and_one_worker() -> None:
    began = time.monotonic()
    items = [0.0, 0.01, 500.0, 0.02, 0.03]
    results = dict(run_in_workers(Naps(), items, 1, Limits(seconds=2.0)))
    assert time.monotonic() - began < 60
    assert list(results) == items
    assert results[500.0] == TimedOut(2.0)
    assert results[0.0] == results[0.01] != results[0.02] == results[0.03]


def test_the_time_to_start_is_not_an_items_time() -> None:
    ((item, _),) = run_in_workers(Naps(start_s=2.0), [0.0], 1, Limits(seconds=1.5))
    assert item == 0.0


def test_a_worker_that_swells_is_replaced() -> None:
    """No item is lost or done twice, and no worker has kept more than the limit and one item."""
    items = [(number, 60) for number in range(12)]
    done = list(run_in_workers(Hoard(), items, 2, Limits(memory_mb=300)))
    assert sorted(item for item, _ in done) == items
    each = Counter(pid for _, pid in done)
    assert len(each) > 2
    assert max(each.values()) <= 5


def test_a_worker_that_needs_much_stays() -> None:
    """To start it anew would not help."""
    items = [(number, 0) for number in range(6)]
    done = dict(run_in_workers(Hoard(first_mb=200), items, 1, Limits(memory_mb=100)))
    assert len(set(done.values())) == 1


def test_no_items_need_no_workers() -> None:
    assert list(run_in_workers(Arithmetic(dies_at_start=True), [], 2)) == []


def test_an_exception_brings_its_traceback() -> None:
    with pytest.raises(WorkerError, match="ZeroDivisionError") as raised:
        list(run_in_workers(Arithmetic(), [1, 0], 1))
    assert raised.value.item == 0


def test_dying_at_the_start_is_not_blamed_on_a_clip() -> None:
    with pytest.raises(UserError, match=r"while starting \(exit code 3\).*engine.workers: 1"):
        list(run_in_workers(Arithmetic(dies_at_start=True), [1, 2, 3], 2))


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert dict(run_in_workers(Arithmetic(), [-1], 2)) == {-1: "1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"


SCRIPT = """
import sys, time
from dataclasses import dataclass
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.runner.workers import run_in_workers

@dataclass(frozen=True)
class Naps:
    def start(self): pass
    def do(self, item): time.sleep(0.05 if item < 3 else float(sys.argv[1])); return item

def main():
    for item, _ in run_in_workers(Naps(), range(10_000), 2):
        print(item, flush=True)

if __name__ == "__main__":
    run(main)
"""


def naps(folder: Path, nap_s: float) -> subprocess.Popen[str]:
    """A process with two workers, which have begun; the fourth item lasts `nap_s`."""
    script = folder / "naps.py"
    script.write_text(SCRIPT)
    repository = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, str(script), str(nap_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
        start_new_session=True,
        preexec_fn=default_ctrl_c,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def wait_until_all_are_gone(group: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a worker outlived its parent")


def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    process = naps(tmp_path, 0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "interrupted: finished results are cached; run again to continue\n"
    wait_until_all_are_gone(process.pid)


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """Not even to finish an item of ten minutes."""
    process = naps(tmp_path, 600)
    time.sleep(0.3)  # both are in their long nap
    process.kill()
    process.wait()
    wait_until_all_are_gone(process.pid)
