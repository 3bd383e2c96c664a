"""Runs in worker processes: the bytes of one process, whatever happens to a worker."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.runner import dispatch
from arpgnet.pipeline.runner.workers import Crashed
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.curves import read_curves
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import PREDICTIONS
from arpgnet.pipeline.train import run as stage
from arpgnet.pipeline.train import side_by_side
from arpgnet.pipeline.train.curve_log import RunLog
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.train.run import RUNS, train
from arpgnet.pipeline.train.side_by_side import workers
from arpgnet.pipeline.training.device import reproducible
from helpers.synthetic_data import small_params, write_data

REPOSITORY = Path(__file__).parents[3]
# a state is saved after every epoch
SCRIPT = """
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.train.run import train
run(lambda: train(load_params(), checkpoint_seconds=0.0))
"""
SETTINGS = """
relation: {layers: 1, heads: 2}
fusion: {width: 16, layers: 1, heads: 2, head_dropout: 0.1}
train: {epochs: 40, min_steps: 1, patience: 40, batch: 8, lr: 0.005, seeds: [0], device: cpu}
engine: {workers: WORKERS}
"""


def files(root: Path) -> dict[str, bytes]:
    paths = sorted((root / "artifacts").rglob("*"))
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def fresh(source: Path, target: Path) -> Path:
    shutil.copytree(source / "data", target / "data")
    return target


@pytest.fixture(scope="module")
def alone(separable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = fresh(separable, tmp_path_factory.mktemp("alone"))
    train(small_params(), root=root, store=Store(root / "store"))
    return root


@pytest.mark.slow
def test_workers_give_the_bytes_of_one_process(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = fresh(alone, tmp_path)
    train(small_params(workers=2), root=root)
    assert files(root) == files(alone)
    said = capfd.readouterr().err
    assert said.count("fold 0, seed 0: trained, 12 epochs") == 1
    assert said.count("fold 1, seed 0: trained, 12 epochs") == 1
    # finished runs are taken from the store, and nobody is started for that
    monkeypatch.setattr(stage, "run_in_workers", lambda *_, **__: pytest.fail("workers"))
    shutil.rmtree(root / "artifacts")
    train(small_params(workers=2), root=root)
    assert files(root) == files(alone)


def test_bytes_do_not_depend_on_the_threads_that_torch_would_take(
    alone: Path, tmp_path: Path
) -> None:
    root = fresh(alone, tmp_path)
    torch.set_num_threads(2)
    try:
        train(small_params(), root=root)
    finally:
        torch.set_num_threads(1)
    assert files(root) == files(alone)


def test_number_of_threads_is_that_of_the_settings() -> None:
    before = torch.get_num_threads()
    with reproducible(3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_divergence_in_a_worker_is_one_line(tmp_path: Path) -> None:
    # more than float16 can hold: infinite features
    write_data(tmp_path, signal=1e6)
    with pytest.raises(UserError, match=r"^training of fold \d, seed 0 diverged in epoch 0: lower"):
        train(small_params(workers=2), root=tmp_path)


def test_worker_that_dies_twice_is_explained(
    separable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fresh(separable, tmp_path)
    died = lambda job, items, count, on_report: iter([(items[0], Crashed(-9))])  # noqa: E731
    monkeypatch.setattr(stage, "run_in_workers", died)
    with pytest.raises(UserError, match=r"died twice \(exit code -9\).*engine.workers: 1"):
        train(small_params(workers=2), root=root)


def test_features_are_not_copied_into_a_message(separable: Path) -> None:
    dataset, _ = stage.load(read_manifest(separable / "data/manifest.parquet"), separable)
    with pytest.raises(AssertionError, match="not shared"):
        pickle.dumps(dataset)


def test_epochs_that_are_reported_again_are_written_once(tmp_path: Path) -> None:
    rows = [
        dict.fromkeys(("train_loss", "val_loss", "val_uar", "val_macro_f1"), n / 7) for n in (1, 2)
    ]
    counted: list[int] = []
    with RunLog(tmp_path / "curves", lambda **_: counted.append(1)) as log:
        for number in (0, 0, 1, 0, 1):
            log.add(number, rows[number])
    assert [row["val_uar"] for row in read_curves(tmp_path / "curves")] == [0.142857, 0.285714]
    assert len(counted) == 2


def test_how_many_go_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "cores", lambda: 8)
    monkeypatch.setattr(side_by_side, "WORKER_BYTES", 1)

    def count(engine: dict[str, object], **train: object) -> int:
        params = Params.model_validate({"engine": engine, "train": {"device": "cpu"} | train})
        return workers(params, Processes(params.train))

    assert count({}) == 8
    assert count({}, threads=3) == 2
    assert count({"workers": 3}) == 3
    # a cluster's workers are not this machine's
    assert count({"workers": 300, "name": "ray"}) == 8
    monkeypatch.setattr(side_by_side, "WORKER_BYTES", 1 << 60)
    assert count({}) == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    several = Processes.__new__(Processes)
    several.alone = False
    assert workers(Params(), several) == 1


def start(root: Path, workers: int) -> subprocess.Popen[str]:
    (root / "params.yaml").write_text(SETTINGS.replace("WORKERS", str(workers)))
    more = {"PYTHONPATH": str(REPOSITORY), "ARPGNET_STORE": str(root / "store")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=root,
        env={**os.environ, **more},
        stderr=subprocess.PIPE,
        text=True,
    )


def trainers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers, without Python's own helper."""
    children = psutil.Process(process.pid).children()
    return [one for one in children if "spawn_main" in " ".join(one.cmdline())]


def wait(ready, seconds: float) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("calm")
    write_data(root)
    assert start(root, 1).wait(240) == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "all", "ctrl-c"])
def test_killed_runs_end_with_the_same_bytes(calm: Path, tmp_path: Path, victim: str) -> None:
    root = fresh(calm, tmp_path)
    process = start(root, 2)
    wait(lambda: any(root.glob("store/train-checkpoint/*/*.file")), 120)
    workers = trainers(process)
    if victim == "worker":
        # another takes its run over, from where it was saved
        workers[0].kill()
        assert process.wait(240) == 0
    else:
        process.send_signal(signal.SIGKILL if victim == "all" else signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if victim == "all" else 130), said
        wait(lambda: not any(one.is_running() for one in workers), 10)
        assert not (root / PREDICTIONS).exists()
        shutil.rmtree(root / RUNS, ignore_errors=True)
        assert start(root, 2).wait(240) == 0
    assert files(root) == files(calm)
    assert not any(root.glob("store/train-checkpoint/*/*.file"))
