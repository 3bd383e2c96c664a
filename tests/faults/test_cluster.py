"""The per-clip stages on a cluster of two machines, one of which is killed at a random moment.

All clips come through, every out has the bytes of the local engine's, and what had been finished
when the machine died is not computed again. Ten machines are killed, and a new one joins after
each.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.ray_cluster import Cluster, cluster
from helpers.rendered_csv import render_csv
from helpers.store_entries import finished
from helpers.support import Workspace

KILLS = 10
COPIES = 8
CLIPS = 12 * COPIES
STAGES = ("ingest", "decode", "align", "finetune", "landmark", "appearance", "graph")
PER_CLIP = [stage for stage in STAGES if stage not in ("ingest", "finetune")]
ALL = len(PER_CLIP) * CLIPS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return render_csv(tmp_path_factory.mktemp("videos"), COPIES)


@pytest.fixture(scope="module")
def machines() -> Iterator[Cluster]:
    with cluster() as made:
        made.add(2)
        yield made


@dataclass(frozen=True)
class Run:
    seconds: float
    outputs: dict[str, str]
    said: list[str]


def run(
    folder: Path, settings: dict[str, object], patch: pytest.MonkeyPatch, **engine: object
) -> Run:
    """All stages before training, each as DVC runs it; and what those of single clips say."""
    patch.setenv("ARPGNET_STORE", str(folder / "store"))
    workspace = Workspace(
        folder / "project",
        settings | {f"engine.{name}": value for name, value in engine.items()},
    )
    start = time.monotonic()
    said = []
    for stage in STAGES:
        done = workspace.stage(stage)
        assert done.returncode == 0, f"{stage}: {done.stderr[-2000:]}"
        if stage in PER_CLIP:
            said.append(done.stdout.splitlines()[-1])
    return Run(time.monotonic() - start, workspace.outputs(), said)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]) -> Run:
    """By the local engine."""
    with pytest.MonkeyPatch.context() as patch:
        return run(tmp_path_factory.mktemp("calm"), settings, patch)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_machine_dies_at_a_random_moment(
    number: int,
    calm: Run,
    settings: dict[str, object],
    machines: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    summary: list[str],
) -> None:
    for name, value in machines.environment.items():
        if name.startswith("RAY_"):
            monkeypatch.setenv(name, value)
    rng = random.Random(number)
    # of the last stage's some are left, so that no machine outlives its work
    results = rng.randrange(ALL - CLIPS // 2)
    before: dict[Path, int] = {}
    over, killed = threading.Event(), threading.Event()

    def kill() -> None:
        while len(finished(tmp_path / "store")) < results:
            if over.wait(0.01):
                return
        machines.nodes[-1].kill()
        before.update(finished(tmp_path / "store"))
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        shaken = run(
            tmp_path, settings, monkeypatch, name="ray", address=machines.address, workers="auto"
        )
    finally:
        over.set()
        killer.join()
        machines.add()
    assert killed.is_set()
    after = finished(tmp_path / "store")
    again = sum(after.get(path) != inode for path, inode in before.items())
    summary.append(
        f"machine killed with {len(before):3d} of {ALL} results finished, {again} computed again, "
        f"{shaken.seconds:5.2f} s in all; last {shaken.said[-1]}"
    )
    assert shaken.outputs == calm.outputs
    whole = f"{CLIPS} computed, 0 reused, 0 quarantined"
    assert shaken.said == [f"{stage}: {whole}" for stage in PER_CLIP]
    assert again == 0
