import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.workers import Crashed, WorkerError, run_in_workers


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
        return os.environ["OMP_NUM_THREADS"] if item == -1 else 12 / item


def test_every_item_gets_its_result() -> None:
    results = dict(run_in_workers(Arithmetic(), [1, 2, 99, 3, 4], 2))
    assert results == {1: 12, 2: 6, 3: 4, 4: 3, 99: Crashed(-signal.SIGKILL)}


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
from pipeline.stage import run
from pipeline.workers import run_in_workers

@dataclass(frozen=True)
class Naps:
    def start(self): pass
    def do(self, item): time.sleep(0.05); return item

def main():
    for item, _ in run_in_workers(Naps(), range(10_000), 2):
        print(item, flush=True)

if __name__ == "__main__":
    run(main)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for children in /proc")
def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    script = tmp_path / "naps.py"
    script.write_text(SCRIPT)
    repository = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "interrupted: what was finished is kept; run again to go on\n"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived its parent")
