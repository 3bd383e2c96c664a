"""Several processes that share each batch, on the CPU with gloo, started by torchrun."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from arpgnet.pipeline.tables.predictions import PREDICTIONS, read_predictions
from helpers.support import free_port
from helpers.synthetic_data import write_data
from helpers.synthetic_targets import clips_and_frames

REPOSITORY = Path(__file__).parents[3]
# no dropout: its masks are the one thing that differs between one process and several
SETTINGS = """
relation: {layers: 1, heads: 2, dropout: 0.0}
fusion: {width: 16, layers: 1, heads: 2, dropout: 0.0, head_dropout: 0.0}
train: {epochs: 6, min_steps: 1, batch: 7, lr: 0.005, seeds: [0], device: cpu, patience: 6}
engine: {workers: 1}
"""


def command(processes: int) -> list[str]:
    # a batch of 7 clips is uneven for 2 and 3 processes, and the last one of an epoch smaller
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*start, "arpgnet.stages.train"]


def environment(root: Path) -> dict[str, str]:
    more = {"PYTHONPATH": str(REPOSITORY), "ARPGNET_STORE": str(root / "store")}
    return {**os.environ, **more, "OMP_NUM_THREADS": "1"}


def run(root: Path, start: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        start,
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def workspace(root: Path, settings: str = SETTINGS) -> Path:
    write_data(root)
    (root / "params.yaml").write_text(settings)
    return root


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = workspace(tmp_path_factory.mktemp("alone"))
    done = run(root, command(1))
    assert done.returncode == 0, done.stderr
    return root


def assert_same_result(found: Path, expected: Path) -> None:
    for fold in (0, 1):
        name = f"artifacts/runs/fold{fold}-seed0/model.safetensors"
        ours, theirs = load_file(found / name), load_file(expected / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(value, theirs[key], atol=1e-4, err_msg=key)
    ours, theirs = (read_predictions(root / PREDICTIONS) for root in (found, expected))
    np.testing.assert_array_equal(ours.clip_id, theirs.clip_id)
    np.testing.assert_array_equal(ours.predicted, theirs.predicted)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_same_weights_and_metrics_as_one_process(
    alone: Path, tmp_path: Path, processes: int
) -> None:
    root = workspace(tmp_path)
    done = run(root, command(processes))
    assert done.returncode == 0, done.stderr
    assert_same_result(root, alone)
    # one of them speaks, and it alone writes
    assert done.stderr.count("fold 1, seed 0: trained") == 1


@pytest.mark.slow
def test_two_nodes(alone: Path, tmp_path: Path) -> None:
    """A torchrun on each of two machines, here both this one, that meet at an address."""
    root = workspace(tmp_path)
    endpoint = f"127.0.0.1:{free_port()}"
    start = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    start += ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=test"]
    logs = [(tmp_path / f"log{node}").open("w+") for node in range(2)]
    nodes = [
        subprocess.Popen(
            [*start, "-m", "arpgnet.stages.train"],
            cwd=root,
            env=environment(root),
            stdout=log,
            stderr=log,
        )
        for log in logs
    ]
    try:
        codes = [node.wait(timeout=120) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    said = "".join(Path(log.name).read_text() for log in logs)
    for log in logs:
        log.close()
    assert codes == [0, 0], said
    assert_same_result(root, alone)
    assert said.count("fold 1, seed 0: trained") == 1


@pytest.mark.slow
def test_killed_process_ends_all_and_the_next_run_goes_on(alone: Path, tmp_path: Path) -> None:
    # long enough to be killed, and never better than its first epoch: 200 epochs without a gain
    root = workspace(tmp_path, SETTINGS.replace("epochs: 6", "epochs: 9000"))
    curve = root / "artifacts/runs/fold0-seed0/curves/plots/metrics/val_uar.tsv"
    (root / "params.yaml").write_text(
        (root / "params.yaml").read_text().replace("patience: 6", "patience: 9000")
    )
    first, children = _started(root)
    _wait(lambda: any(root.glob("store/**/train-checkpoint/**/*.*")), 60)
    os.kill(children[1], signal.SIGKILL)
    assert first.wait(timeout=60) != 0  # it does not hang
    _wait(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)
    assert not (root / PREDICTIONS).exists()
    epochs = len(curve.read_text().splitlines())
    shutil.rmtree(root / "artifacts")
    second, children = _started(root)
    # the curve's earlier epochs are written at once from the checkpoint
    _wait(lambda: curve.exists() and len(curve.read_text().splitlines()) > epochs // 2, 60)
    assert "fold 0" not in (root / "log").read_text()
    second.terminate()
    assert second.wait(timeout=60) != 0
    _wait(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 30)


@pytest.mark.slow
def test_no_common_store_is_said(tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(
        "from arpgnet.pipeline.common.params import TrainParams\n"
        "from arpgnet.pipeline.common.stage import run\n"
        "from arpgnet.pipeline.train.processes import Processes\n"
        "def main():\n"
        "    processes = Processes(TrainParams(device='cpu'))\n"
        "    assert processes.agreed(lambda: 1) == 1\n"
        "    assert processes.agreed(lambda: None) is None\n"
        "    assert processes.agreed(lambda: processes.rank or None) is None\n"
        "    processes.agreed(lambda: None if processes.rank else 1)\n"
        "run(main)\n"
    )
    done = run(tmp_path, [*command(2)[:-2], str(script)])
    assert done.returncode != 0
    assert "error: the processes do not share a store: set ARPGNET_STORE" in done.stderr
    assert "AssertionError" not in done.stderr


def _started(root: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Two processes under torchrun, and their numbers."""
    with (root / "log").open("w") as log:
        started = subprocess.Popen(
            command(2), cwd=root, env=environment(root), stdout=log, stderr=log, text=True
        )
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    _wait(lambda: len(children.read_text().split()) == 2, 60)
    return started, [int(child) for child in children.read_text().split()]


def _wait(ready, seconds: float) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_clips_and_frames_are_learned_as_by_one_process(tmp_path: Path) -> None:
    settings = SETTINGS.replace("epochs: 6", "epochs: 3, window: 4, stride: 4, folds: [0]")
    found = []
    for processes in (1, 2):
        root = tmp_path / str(processes)
        clips_and_frames(root)
        task = "task: {also: [action_units]}\n"
        (root / "params.yaml").write_text(settings + task)
        done = run(root, command(processes))
        assert done.returncode == 0, done.stderr
        found.append(load_file(root / "artifacts/runs/fold0-seed0/model.safetensors"))
    one, both = found
    assert "also_head.weight" in one
    for name, value in one.items():
        np.testing.assert_allclose(both[name], value, atol=1e-4, err_msg=name)
