"""The reverse check: stored clips through the file against what training wrote down."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.export.check import check
from arpgnet.pipeline.export.describe import metadata
from arpgnet.pipeline.export.parity import TOLERANCE
from arpgnet.pipeline.export.write import export, to_onnx
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.predictions import PREDICTIONS
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.checkpoints import best_run, load_run, runs
from arpgnet.pipeline.training.kinds import trained_task
from helpers.synthetic_data import CLASSES, FRAMES, LOST, SUBJECTS, small_params, write_data
from helpers.synthetic_targets import task_params, with_targets


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    write_data(root, per_frame_pooling=True, short=["s1-joy-0", "s2-anger-1"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(root / "store"))
        train(small_params(epochs=2, refit=False), root=root)
    torch.set_num_threads(threads)
    return root


TASK = trained_task("expression", CLASSES)


def kept(info: dict[str, Any]) -> dict[str, Any]:
    return {"classes": info["classes"], "params": info["params"]}


def write_file(root: Path, run: str, out: Path) -> Path:
    network, info = load_run(root / RUNS / run)
    task = trained_task(info["kind"], info["classes"])
    where = {"name": run, "fold": info["fold"], "seed": info["seed"]}
    where["refitted"] = info["refitted"]
    out.write_bytes(to_onnx(network, task, {"run": where, "kind": info["kind"], **kept(info)}))
    return out


def test_equals_the_stored_predictions(trained: Path, tmp_path: Path) -> None:
    found = check(write_file(trained, "fold1-seed0", tmp_path / "m.onnx"), trained)
    assert found.ok
    assert (found.run, found.predicted_differently) == ("fold1-seed0", 0)
    assert found.difference < TOLERANCE / 10
    # fold 1 tests half of the subjects and validates on one of the two last ones
    assert found.predictions == 6 * (SUBJECTS // 2 + 1)
    # the quarantined clip has no prediction to compare with
    fold0 = check(write_file(trained, "fold0-seed0", tmp_path / "n.onnx"), trained)
    assert (fold0.predictions, fold0.ok) == (6 * (SUBJECTS // 2 + 1) - 1, True)
    assert LOST.startswith("s0")
    assert FRAMES > 2


def test_of_a_refitted_run_only_test_predictions_are_its_own(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "data", tmp_path / "data")
    train(small_params(epochs=2, folds=[1], refit=True), root=tmp_path)
    found = check(write_file(tmp_path, "fold1-seed0", tmp_path / "m.onnx"), tmp_path)
    assert (found.predictions, found.ok) == (6 * (SUBJECTS // 2), True)


@pytest.mark.parametrize(
    ("frame_labels", "settings"),
    [(True, {"window": 3, "stride": 2}), (False, {"frames": 2, "offsets": 2})],
)
def test_labeled_frames_and_several_views_a_clip(
    tmp_path: Path, frame_labels: bool, settings: dict[str, int]
) -> None:
    write_data(tmp_path, frame_labels=frame_labels)
    train(small_params(epochs=1, folds=[0], refit=False, **settings), root=tmp_path)
    found = check(write_file(tmp_path, "fold0-seed0", tmp_path / "m.onnx"), tmp_path)
    assert found.ok
    each = FRAMES - 1 if frame_labels else 1
    assert found.predictions == each * (6 * (SUBJECTS // 2 + 1) - 1)


def test_another_runs_network_fails(trained: Path, tmp_path: Path) -> None:
    network, info = load_run(trained / RUNS / "fold0-seed0")
    other = {"name": "fold1-seed0", "fold": 1, "seed": 0}
    file = tmp_path / "m.onnx"
    file.write_bytes(to_onnx(network, TASK, {"run": other, **kept(info)}))
    found = check(file, trained)
    assert not found.ok
    assert found.difference > TOLERANCE


def test_mistakes_are_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        check(tmp_path / "absent.onnx", trained)
    network, info = load_run(trained / RUNS / "fold0-seed0")
    file = tmp_path / "m.onnx"
    file.write_bytes(to_onnx(network, TASK, {}))
    with pytest.raises(UserError, match="arpgnet export"):
        check(file, trained)
    nowhere = {"name": "fold7-seed0", "fold": 7, "seed": 0}
    file.write_bytes(to_onnx(network, TASK, {"run": nowhere, **kept(info)}))
    with pytest.raises(UserError, match="no predictions of fold7-seed0"):
        check(file, trained)


def test_best_run_is_that_of_validation(trained: Path) -> None:
    values = {n: load_run(trained / RUNS / n)[1]["validation"]["val_uar"] for n in runs(trained)}
    assert values[best_run(trained)] == max(values.values())
    assert len(values) == 2
    rows = pq.read_table(trained / PREDICTIONS).to_pylist()
    assert len({row["fold"] for row in rows}) == 2
    assert np.isfinite(list(values.values())).all()


def test_unknown_run_and_no_run(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    with pytest.raises(UserError, match=r"no run fold9-seed9 .*fold0-seed0, fold1-seed0"):
        export(Params(), out, run="fold9-seed9", root=trained)
    with pytest.raises(UserError, match="dvc repro train"):
        export(Params(), out, root=tmp_path)
    assert not out.exists()


def test_metadata_of_other_data_is_refused(trained: Path) -> None:
    network, info = load_run(trained / RUNS / "fold0-seed0")
    changed = info | {"features": info["features"] | {"names": ["elsewhere"]}}
    with pytest.raises(UserError, match=r"other data than data/ contains now \(names\)"):
        metadata(network, changed, Params(), "fold0-seed0", trained)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["action_units", "valence_arousal"])
def test_other_tasks_are_checked_too(tmp_path: Path, kind: str) -> None:
    with_targets(tmp_path, frames=kind == "action_units")
    train(task_params(kind, train={"epochs": 1, "folds": [0], "refit": False}), root=tmp_path)
    file = write_file(tmp_path, "fold0-seed0", tmp_path / "m.onnx")
    found = check(file, tmp_path)
    assert found.ok
    assert found.predictions > 20
    assert found.difference < TOLERANCE / 10
