"""Processes that begin together take different GPUs."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from arpgnet.pipeline.common.gpus import VISIBLE, take_seats, visible_gpus

GPUS = ["GPU-a", "GPU-b", "GPU-c"]
SCRIPT = """
import sys
from pathlib import Path
from arpgnet.pipeline.common.gpus import take_seats
print(*take_seats(sys.argv[3:], int(sys.argv[2]), Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def start(folder: Path, count: int = 1) -> subprocess.Popen[str]:
    """A process that takes seats and stays."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(count), *GPUS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_processes_at_once_are_spread_evenly(tmp_path: Path) -> None:
    many = [start(tmp_path / "seats") for _ in range(6)]
    taken = Counter(gpu for process in many for gpu in said(process))
    end(*many)
    assert taken == dict.fromkeys(GPUS, 2)


def test_a_killed_process_gives_its_seat_back(tmp_path: Path) -> None:
    first, second = start(tmp_path, 2), start(tmp_path)
    both = said(first), said(second)
    assert sorted(both[0] + both[1]) == GPUS
    end(first)
    third = start(tmp_path, 2)
    assert said(third) == both[0]
    end(second, third)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what NVIDIA's would of two GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'GPU-a\\nGPU-b\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        (None, ["GPU-a", "GPU-b"]),
        ("1", ["GPU-b"]),
        ("GPU-a", ["GPU-a"]),
        ("", []),
        ("1,0", ["GPU-b", "GPU-a"]),
    ],
)
def test_what_was_chosen_stays(
    chosen: str | None, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is not None:
        monkeypatch.setenv(VISIBLE, chosen)
    assert visible_gpus() == seen


def test_no_driver_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []


def test_a_process_takes_its_seats_once(tmp_path: Path) -> None:
    assert take_seats(["one", "two"], 1, tmp_path) == ["one"]
    assert take_seats(["one", "two"], 1, tmp_path) == ["two"]
