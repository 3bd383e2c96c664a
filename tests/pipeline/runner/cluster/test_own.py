"""`engine.name: ray` without an address: a stage starts a cluster of its own, and ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.predict_process import default_ctrl_c

# half a minute
pytestmark = pytest.mark.slow
SCRIPT = """
import sys
from pathlib import Path
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.common.stage import run
from helpers.squares import Squares, clips

def main():
    folder = Path(sys.argv[1])
    work = Squares(folder / "traces", nap_s=float(sys.argv[2]))
    print(run_clips(work, clips(4), folder / "out", EngineParams(name="ray", workers=2)))

if __name__ == "__main__":
    run(main)
"""
TESTS = Path(__file__).parents[3]


def stage(folder: Path, nap_s: float) -> subprocess.Popen[str]:
    """Runs as a stage does, in a home folder of its own."""
    script = folder / "stage.py"
    script.write_text(SCRIPT)
    (folder / "traces").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(nap_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "HOME": str(folder), "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        start_new_session=True,
        preexec_fn=default_ctrl_c,
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that have this home folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(folder):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_stage_starts_and_ends_it(tmp_path: Path) -> None:
    process = stage(tmp_path, 0.0)
    said, errors = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "4 computed, 0 reused, 0 quarantined\n"), errors
    assert not left_behind(tmp_path)
    # neither a token nor a log
    assert not (tmp_path / ".ray").exists()


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    process = stage(tmp_path, 5.0)
    while not list((tmp_path / "traces").glob("setup-*")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in errors.splitlines() if "squares: " not in line]
    assert lines == ["interrupted: finished results are cached; run again to continue"]
    assert not left_behind(tmp_path)
