"""The run is killed with SIGKILL at random moments, and repaired by running it again.

Afterwards every out has the bytes of an undisturbed run, and nothing that had been finished was
computed again: an entry of the store that was there when the run was killed is the same file (the
same inode) at the end, for whoever writes an entry again puts a new file in its place.

Eleven runs are killed 4 times each; `make test` has one in tests/test_end_to_end.py, killed once.
"""

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.killed_runs import LOG, PATIENCE_S, begin, kill, wait_for
from helpers.rendered_csv import render_csv
from helpers.store_entries import finished
from helpers.support import Workspace

RUNS = 11
KILLS = 4
# the longest time between two kills, as a fraction of an undisturbed run: short ones hit the first
# stages again and again, long ones reach the last
REACH = (0.4, 0.2, 0.6, 0.3, 0.5)
# stages that a random moment seldom meets, short as they are: the last long run waits for them
AIMED_AT = ("landmark", "train", "evaluate", "report")

pytestmark = pytest.mark.slow


@dataclass
class Kill:
    """What was going on when a run was killed."""

    run: int
    after_s: float
    stage: str
    victim: str
    finished: int
    again: int = 0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return render_csv(tmp_path_factory.mktemp("videos"))


@dataclass(frozen=True)
class Calm:
    """An undisturbed run: how long it took, and what came out."""

    seconds: float
    outputs: dict[str, str]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]) -> Calm:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(tmp_path_factory.mktemp("calm-store")))
        workspace = Workspace(tmp_path_factory.mktemp("calm") / "project", settings)
        start = time.monotonic()
        workspace.dvc("repro")
        return Calm(time.monotonic() - start, workspace.outputs())


@pytest.fixture(scope="module")
def kills(summary: list[str]) -> Iterator[list[Kill]]:
    """All kills of the session, for the table at its end."""
    collected: list[Kill] = []
    yield collected
    summary.append("run  after s  stage      killed           finished  computed again")
    summary += [
        f"{one.run:3d}  {one.after_s:7.2f}  {one.stage:9s}  {one.victim:15s}  "
        f"{one.finished:8d}  {one.again:14d}"
        for one in collected
    ]


@pytest.mark.parametrize("run", range(RUNS))
def test_a_killed_run_is_repaired_by_running_it_again(
    run: int,
    calm: Calm,
    kills: list[Kill],
    settings: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("ARPGNET_STORE", str(store))
    workspace = Workspace(tmp_path / "project", settings)
    chance = random.Random(run)
    killed: list[tuple[Kill, dict[Path, int]]] = []
    for number in range(KILLS):
        process = begin(workspace)
        start = time.monotonic()
        if run == 10:
            wait_for(process, AIMED_AT[number])
            time.sleep(chance.uniform(0.0, 0.9))
        else:
            after_s = chance.uniform(0.3, 1.0) * REACH[run % len(REACH)] * calm.seconds
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after_s)
        after_s = time.monotonic() - start
        if process.poll() is not None:
            break  # it came to its end before its time
        stage, victim = kill(process, everything=chance.random() < 0.6)
        before = finished(store)
        killed.append((Kill(run, after_s, stage, victim, len(before)), before))
    last = begin(workspace)
    assert last.wait(PATIENCE_S) == 0, (workspace.root / LOG).read_text()[-2000:]
    after = finished(store)
    for one, before in killed:
        one.again = sum(after.get(path) != inode for path, inode in before.items())
        kills.append(one)
    assert workspace.outputs() == calm.outputs
    assert [one.again for one, _ in killed] == [0] * len(killed)
    assert killed, "nothing was killed"
