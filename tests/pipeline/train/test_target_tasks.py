"""Other tasks than expressions, from `data/` to metrics, on a small synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
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
from helpers.synthetic_targets import task_params, with_targets

BY_VALIDATION = EvaluateParams(bootstrap=100, threshold="validation")


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
    network, info = load_run(run)
    assert info["kind"] == kind
    assert "thresholds" not in info
    assert network.config.num_classes == len(info["classes"])
    # what is made for expressions says so
    with pytest.raises(UserError, match=f"task.kind: {kind}; this needs those of expressions"):
        read_predictions(tmp_path / PREDICTIONS)


def test_thresholds_of_validation_are_used_and_told(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    params = task_params("action_units", targets=["au_4", "au_1"], loss="asymmetric")
    train(params.model_copy(update={"evaluate": BY_VALIDATION}), root=tmp_path)
    evaluate(BY_VALIDATION, root=tmp_path)
    details = json.loads((tmp_path / "reports/evaluation.json").read_text())
    assert details["outputs"] == ["au_4", "au_1"]
    assert details["threshold"] == "validation"
    assert {name: len(values) for name, values in details["thresholds"].items()} == {
        "fold0-seed0": 2, "fold1-seed0": 2,
    }  # fmt: skip
    # the run's file has those that evaluation has found: prediction goes by them
    run = best_run(tmp_path)
    _, info = load_run(tmp_path / "artifacts/runs" / run)
    assert info["thresholds"] == pytest.approx(details["thresholds"][run], abs=1e-6)
    assert np.abs(np.array(info["thresholds"]) - 0.5).max() > 1e-3
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
