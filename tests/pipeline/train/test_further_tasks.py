"""`task.also`: several tasks of one network, from `data/` to predictions of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams, TrainParams
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.evaluate.run import evaluate
from arpgnet.pipeline.report.further import further_views
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import read_manifest, write_manifest
from arpgnet.pipeline.tables.predictions import (
    NETWORK,
    PREDICTIONS,
    further_path,
    read_predictions,
    read_target_predictions,
)
from arpgnet.pipeline.tables.targets import TARGETS, read_targets, write_targets
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.checkpoints import load_run
from arpgnet.pipeline.training.kinds.action_units import ActionUnits
from arpgnet.pipeline.training.kinds.expression import Expression
from arpgnet.pipeline.training.kinds.further import FurtherLosses
from arpgnet.pipeline.training.kinds.valence_arousal import ValenceArousal
from helpers.synthetic_targets import AFFECT, several_targets, task_params, with_targets

NAN = float("nan")
RUN = "artifacts/runs/fold0-seed0"


def test_the_loss_is_the_weighted_sum_of_the_tasks_means() -> None:
    torch.manual_seed(0)
    kinds = [
        Expression(["a", "b", "c"]),
        ActionUnits(["au_1", "au_2"], "bce"),
        ValenceArousal(["valence", "arousal"], "mse"),
    ]
    labels = [
        np.array([0, -1, 2, 1]),
        np.array([[0, 1], [NAN, NAN], [1, NAN], [1, 0]], np.float32),
        np.array([[0.5, NAN], [-1, 0.2], [NAN, NAN], [0, 0]], np.float32),
    ]
    objectives = [
        kind.objective(label, TrainParams()) for kind, label in zip(kinds, labels, strict=True)
    ]
    logits = torch.randn(4, 7, requires_grad=True)
    places = [slice(0, 3), slice(3, 5), slice(5, 7)]
    weights, totals = (
        [0.5, 2.0, 0.25],
        [objective.weight(label) for objective, label in zip(objectives, labels, strict=True)],
    )
    found = FurtherLosses(objectives, places, weights).loss(
        logits, [torch.from_numpy(label) for label in labels], totals
    )
    expected = 0.0
    for part, objective, label, weight, total in zip(
        (logits[:, :3], logits[:, 3:5], logits[:, 5:]),
        *(objectives, labels, weights, totals),
        strict=True,
    ):
        expected += weight * objective.loss(part, torch.from_numpy(label)).item() / total
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found.backward()
    assert logits.grad is not None
    # what is not annotated teaches nothing, each task by itself
    unknown = torch.cat(
        [
            torch.tensor(labels[0] < 0)[:, None].expand(-1, 3),
            *(torch.from_numpy(label).isnan() for label in labels[1:]),
        ],
        dim=1,
    )
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).all()
    nothing = [torch.full((4,), -1), *(torch.full((4, 2), NAN) for _ in range(2))]
    empty = FurtherLosses(objectives, places, weights).loss(logits, nothing, [0, 0, 0])
    assert empty.item() == 0


def test_several_tasks_of_clips_are_learned_together(tmp_path: Path) -> None:
    several_targets(tmp_path)
    settings = {"folds": [0], "refit": False}
    params = task_params("expression", also=["valence_arousal", "action_units"], train=settings)
    by_validation = EvaluateParams(bootstrap=100, threshold="validation")
    train(params.model_copy(update={"evaluate": by_validation}), root=tmp_path)
    main = read_predictions(tmp_path / PREDICTIONS)
    network, info = load_run(tmp_path / RUN)
    assert info["classes"] == main.classes
    assert "thresholds" not in info
    thresholds = info["also"][1].pop("thresholds")
    assert info["also"] == [
        {"kind": "valence_arousal", "outputs": ["valence", "arousal"]},
        {"kind": "action_units", "outputs": ["au_1", "au_2"]},
    ]
    assert network.config.also == 4
    shown = read_target_predictions(tmp_path / further_path("valence_arousal"))
    test = shown.select((shown.split == "test") & (shown.model == NETWORK))
    # a clip without a value of this task is no part of it; of the main one it is
    clips = {name for name in main.clip_id if name.endswith("-1")}
    assert clips
    assert not clips & set(test.clip_id)
    lost = np.isnan(test.values).any(axis=1)
    assert set(test.clip_id[lost]) == {"s0-anger-0"}
    expected = np.array([AFFECT[name.split("-")[1]] for name in test.clip_id])
    assert np.corrcoef(test.values[~lost, 1], expected[~lost, 1])[0, 1] > 0.5
    assert len(set(shown.model)) == 5  # the baselines of that task
    units = read_target_predictions(tmp_path / further_path("action_units"))
    seen = units.select((units.split == "test") & (units.model == NETWORK))
    assert np.isnan(seen.target[:, 0]).any()
    shown_1 = seen.values[:, 0][seen.target[:, 0] == 1]
    assert np.nanmean(shown_1) > np.nanmean(seen.values[:, 0][seen.target[:, 0] == 0]) + 0.1
    assert set(units.split[units.model == NETWORK]) == {"val", "test"}
    evaluate(by_validation, root=tmp_path)
    metrics = json.loads((tmp_path / "reports/metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.5
    also = metrics["also"]
    assert set(also) == {"valence_arousal", "action_units"}
    # half of the fold's 24 clips have no valence, and one of the other subjects' is quarantined
    assert (metrics["clips"], also["valence_arousal"]["clips"]) == (24, 12)
    score = also["valence_arousal"]["ccc"]
    assert score["ci_low"] <= score["mean"] <= score["ci_high"]
    assert set(also["action_units"]["baselines"]) == {
        "prevalence", "logreg_embedding", "logreg_map", "logreg_map_grid",
    }  # fmt: skip
    assert also["action_units"]["intervals_over"] == {"subject": 4}
    details = json.loads((tmp_path / "reports/evaluation.json").read_text())
    found = details["also"]["action_units"]["thresholds"]["fold0-seed0"]
    assert thresholds == pytest.approx(found, abs=1e-6)
    views = {one["title"]: one for one in further_views(details, metrics)}
    rows = views["valence and arousal"]["outputs"]
    assert [row["name"] for row in rows] == ["valence", "arousal"]
    assert {row["count"] for row in rows} == {"12"}
    # one task again: another network, and no file of the others
    train(task_params("expression", train=settings | {"epochs": 1}), root=tmp_path)
    assert not further_path("action_units").parent.exists()
    alone = load_run(tmp_path / RUN)
    assert "also" not in alone[1]
    assert not {"also", "also_weight"} & set(alone[1]["params"]["task"])
    assert "also" not in alone[1]["network"]
    assert not any(name.startswith("also") for name in alone[0].state_dict())


def test_a_finished_run_is_taken_from_the_store_with_all_its_tasks(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=False)
    params = task_params("valence_arousal", also=["expression"], train={"epochs": 1, "folds": [0]})
    train(params, root=tmp_path)
    files = [PREDICTIONS, further_path("expression"), Path(RUN) / "model.safetensors"]
    before = [file_sha256(tmp_path / file) for file in files]
    found = read_predictions(tmp_path / further_path("expression"))
    assert np.nansum(found.probabilities, axis=1)[0] == pytest.approx(1, abs=1e-5)
    train(params, root=tmp_path)
    assert [file_sha256(tmp_path / file) for file in files] == before
    evaluate(EvaluateParams(bootstrap=100), root=tmp_path)
    metrics = json.loads((tmp_path / "reports/metrics.json").read_text())
    details = json.loads((tmp_path / "reports/evaluation.json").read_text())
    (view,) = further_views(details, metrics)
    assert [name for name, _ in view["scores"]] == ["UAR", "WAR", "macro-F1"]
    assert len(view["models"]) == 5
    assert "majority" in metrics["also"]["expression"]["baselines"]


def test_frames_are_learned_in_several_tasks(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    table = read_targets(tmp_path / TARGETS)
    doubled = replace(
        table,
        names=[*table.names, "au_4_intensity"],
        values=np.concatenate([table.values, 5 * table.values[:, 2:]], axis=1),
    )
    write_targets(doubled, tmp_path / TARGETS)
    params = task_params("action_units", also=["intensity"], train={"epochs": 3, "folds": [0]})
    train(params, root=tmp_path)
    found = read_target_predictions(tmp_path / further_path("intensity"))
    main = read_target_predictions(tmp_path / PREDICTIONS)
    rows = found.model == NETWORK
    assert (found.frame_index[rows] == main.frame_index[main.model == NETWORK]).all()
    assert np.nanmin(found.values) >= 0
    assert np.nanmax(found.values) <= 5


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"also": ["expression"]}, "task.also has expression, which task.kind learns already"),
        ({"also": ["action_units"] * 2}, "task.also names a task twice"),
        ({"also": ["action_unit"]}, r"task.also\[0\]: .*did you mean 'action_units'"),
        ({"also_weight": 0}, "task.also_weight: 0 is not valid"),
    ],
)
def test_a_wrong_list_is_told_in_one_line(task: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_params({"task": task})


def test_data_that_lacks_a_further_task_is_told(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    with pytest.raises(UserError, match=r"task.also: valence_arousal: no targets; synthetic has"):
        train(task_params("action_units", also=["valence_arousal"]), root=tmp_path)
    with_targets(tmp_path, frames=False)
    clips = read_manifest(tmp_path / "data/manifest.parquet").clips
    unlabeled = [replace(clip, label=None, label_index=None) for clip in clips]
    write_manifest(unlabeled, tmp_path / "data/manifest.parquet", classes=[], dataset="synthetic")
    with pytest.raises(UserError, match=r"task.also: expression: task.kind: expression needs"):
        train(task_params("valence_arousal", also=["expression"]), root=tmp_path)


def test_a_fold_without_a_further_tasks_presence_is_told(tmp_path: Path) -> None:
    several_targets(tmp_path)
    table = read_targets(tmp_path / TARGETS)
    table.values[:, table.names.index("au_2")] = 0
    write_targets(table, tmp_path / TARGETS)
    told = "task.also: action_units: fold 0 has no usable training clip with au_2"
    with pytest.raises(UserError, match=told):
        train(task_params("expression", also=["action_units"]), root=tmp_path)
