"""Other tasks than expressions, from `data/` to metrics, on a small synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams, Params
from arpgnet.pipeline.evaluate.run import evaluate
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import (
    PREDICTIONS,
    read_predictions,
    read_target_predictions,
)
from arpgnet.pipeline.tables.targets import TargetTable, write_targets
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.checkpoints import best_run, load_run
from helpers.synthetic_data import CLASSES, FRAMES, small_params, write_data

# valence and arousal by class, as the clip's class adds its signal
AFFECT = {"anger": (-0.7, 0.6), "joy": (0.8, 0.4), "neutral": (0.0, -0.3)}


def with_targets(root: Path, *, frames: bool) -> None:
    """Write the data set with action units of frames, or valence and arousal of clips. The first
    frame of each clip is not annotated, and au_2 of every fourth one."""
    write_data(root)
    clips = read_manifest(root / "data/manifest.parquet").clips
    names = ["au_1", "au_2", "au_4"] if frames else ["valence", "arousal"]
    ids, index, values = [], [], []
    for number, clip in enumerate(clips):
        for frame in range(1, FRAMES) if frames else (-1,):
            ids.append(clip.clip_id)
            index.append(frame)
            row = list(AFFECT[clip.label or ""])
            if frames:
                row = [float(clip.label == name) for name in CLASSES]
                row[1] = np.nan if number % 4 == 0 else row[1]
            values.append(row)
    table = TargetTable(names, np.array(ids, object), np.array(index), np.array(values, np.float32))
    write_targets(table, root / "data/targets.parquet")


def task_params(kind: str, **task: object) -> Params:
    params = small_params(window=4, stride=4)
    settings = params.model_dump() | {"task": {"kind": kind, **task}}
    return Params.model_validate(settings)


@pytest.mark.parametrize(
    ("kind", "score", "least"), [("action_units", "f1", 0.6), ("valence_arousal", "ccc", 0.7)]
)
def test_a_task_is_learned_and_scored(tmp_path: Path, kind: str, score: str, least: float) -> None:
    frames = kind == "action_units"
    with_targets(tmp_path, frames=frames)
    train(task_params(kind), root=tmp_path)
    found = read_target_predictions(tmp_path / PREDICTIONS)
    assert found.kind == kind
    test = found.select((found.split == "test") & (found.model == "arpgnet"))
    if frames:
        assert sorted(set(test.frame_index)) == [1, 2, 3]
        assert np.isnan(test.target[:, 1]).any()
    assert not np.isnan(test.target[:, 0]).any()
    evaluate(EvaluateParams(bootstrap=100), root=tmp_path)
    metrics = json.loads((tmp_path / "reports/metrics.json").read_text())
    assert metrics[score]["mean"] > least
    assert metrics[score]["ci_low"] <= metrics[score]["mean"] <= metrics[score]["ci_high"]
    assert metrics["coverage"]["mean"] < 1  # a clip is quarantined
    assert metrics["intervals_over"] == {"subject": 8}
    naive = {"action_units": "prevalence", "valence_arousal": "mean"}[kind]
    linear = {"action_units": "logreg", "valence_arousal": "ridge"}[kind]
    assert set(metrics["baselines"]) == {
        naive, f"{linear}_embedding", f"{linear}_map", f"{linear}_map_grid",
    }  # fmt: skip
    assert metrics["baselines"][f"{linear}_map_grid"][score] > least
    assert (metrics["baselines"][naive][score] or 0) < 0.6
    run = tmp_path / "artifacts/runs" / best_run(tmp_path)
    network, info = load_run(run, kind=kind)
    assert info["kind"] == kind
    assert network.config.num_classes == len(info["classes"])
    # what is made for expressions says so
    with pytest.raises(UserError, match=f"trained for task.kind: {kind}; this works with"):
        load_run(run)
    with pytest.raises(UserError, match=f"task.kind: {kind}; this needs those of expressions"):
        read_predictions(tmp_path / PREDICTIONS)


def test_thresholds_of_validation_are_used_and_told(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    train(task_params("action_units", targets=["au_4", "au_1"], loss="asymmetric"), root=tmp_path)
    evaluate(EvaluateParams(bootstrap=100, threshold="validation"), root=tmp_path)
    details = json.loads((tmp_path / "reports/evaluation.json").read_text())
    assert details["outputs"] == ["au_4", "au_1"]
    assert details["threshold"] == "validation"
    assert {name: len(values) for name, values in details["thresholds"].items()} == {
        "fold0-seed0": 2, "fold1-seed0": 2,
    }  # fmt: skip
    assert np.diag(details["co_occurrence"]["annotated"]) == pytest.approx([1, 1])


def test_targets_that_are_not_there_are_named(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=False)
    with pytest.raises(UserError, match="no targets; synthetic has valence, arousal"):
        train(task_params("action_units"), root=tmp_path)
    with pytest.raises(UserError, match="no clip has the target arousal_2; synthetic has valence"):
        train(task_params("valence_arousal", targets=["arousal_2"]), root=tmp_path)


def test_a_unit_without_a_positive_in_a_fold_is_named(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    clips = read_manifest(tmp_path / "data/manifest.parquet").clips
    values = np.array([[float(clip.subject == "s0")] for clip in clips], np.float32)
    ids = np.array([clip.clip_id for clip in clips], object)
    table = TargetTable(["au_9"], ids, np.full(len(ids), -1), values)
    write_targets(table, tmp_path / "data/targets.parquet")
    with pytest.raises(UserError, match="fold 0 has no usable training clip with au_9"):
        train(task_params("action_units"), root=tmp_path)
