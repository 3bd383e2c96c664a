"""`task.also` with labels of clips and of frames in one network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams, Params
from arpgnet.pipeline.evaluate.run import evaluate
from arpgnet.pipeline.report.further import further_views
from arpgnet.pipeline.store import Store, file_sha256
from arpgnet.pipeline.tables.manifest import read_manifest, read_splits
from arpgnet.pipeline.tables.predictions import (
    NETWORK,
    PREDICTIONS,
    further_path,
    read_predictions,
    read_target_predictions,
)
from arpgnet.pipeline.tables.targets import TARGETS, read_targets, write_targets
from arpgnet.pipeline.train.fit import Trainer
from arpgnet.pipeline.train.folds import read_folds
from arpgnet.pipeline.train.processes import Processes
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.checkpoints import load_run
from arpgnet.pipeline.training.data import Dataset, load
from arpgnet.pipeline.training.network import build_network, network_config, run_network
from arpgnet.pipeline.training.state import State
from arpgnet.pipeline.training.tasks import Task, make_task
from helpers.synthetic_targets import clips_and_frames, task_params

RUN = Path("artifacts/runs/fold0-seed0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    clips_and_frames(root)
    return root


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(data / "data")
    return tmp_path


def test_labels_of_clips_and_of_frames_are_learned_together(root: Path) -> None:
    # the main task chooses the epoch, and its classes are learned soon
    settings = {"folds": [0], "frames": 3, "refit": False}
    also = {"also": ["valence_arousal", "action_units"], "also_weight": 3.0}
    params = task_params("expression", train=settings, **also)
    train(params, root=root)
    network, info = load_run(root / RUN)
    assert info["task"] == "clip"
    assert info["also"] == [
        {"kind": "valence_arousal", "outputs": ["valence", "arousal"]},
        {"kind": "action_units", "outputs": ["au_1", "au_2", "au_4"], "task": "frame"},
    ]
    assert info["views"] == {"clip": 3, "frame": 4}
    assert network.config.also == 5
    main = read_predictions(root / PREDICTIONS)
    assert set(main.frame_index) == {-1}
    affect = read_target_predictions(root / further_path("valence_arousal"))
    assert set(affect.frame_index) == {-1}
    units = read_target_predictions(root / further_path("action_units"))
    assert set(units.frame_index) == {1, 2, 3}
    assert set(units.clip_id) == set(main.clip_id)
    seen = units.select((units.split == "test") & (units.model == NETWORK))
    # the first frame is not annotated, nor is au_2 of every fourth clip
    assert np.isnan(seen.target[:, 1]).any()
    shown, hidden = (np.nanmean(seen.values[seen.target == one]) for one in (1, 0))
    assert shown > hidden + 0.1
    evaluate(EvaluateParams(bootstrap=100), root=root)
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.5
    assert "frames" not in metrics
    assert metrics["also"]["action_units"]["frames"] == 3 * metrics["clips"]
    assert "frames" not in metrics["also"]["valence_arousal"]
    assert {"prevalence", "logreg_map"} <= set(metrics["also"]["action_units"]["baselines"])
    details = json.loads((root / "reports/evaluation.json").read_text())
    views = {one["title"]: one["tested"] for one in further_views(details, metrics)}
    assert views["action units"].startswith("72 test frames")
    assert views["valence and arousal"].startswith("24 test clips")


def test_a_killed_run_of_both_ends_with_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 3, "folds": [0]}
    params = task_params("action_units", also=["expression"], train=settings)
    files = [PREDICTIONS, further_path("expression"), RUN / "model.safetensors"]
    train(params, root=root, store=Store(tmp_path / "one"))
    whole = [file_sha256(root / file) for file in files]
    classes = read_predictions(root / further_path("expression"))
    assert set(classes.frame_index) == {-1}
    assert np.nansum(classes.probabilities, axis=1)[0] == pytest.approx(1, abs=1e-5)
    assert load_run(root / RUN)[1]["also"][0]["task"] == "clip"
    epoch = Trainer._epoch

    def killed(self: Trainer, state: State) -> None:
        if len(state.history) == 2:
            raise KeyboardInterrupt
        epoch(self, state)

    other = Store(tmp_path / "other")
    monkeypatch.setattr(Trainer, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(params, root=root, store=other, checkpoint_seconds=0.0)
    monkeypatch.setattr(Trainer, "_epoch", epoch)
    train(params, root=root, store=other, checkpoint_seconds=0.0)
    assert [file_sha256(root / file) for file in files] == whole


def test_a_fold_without_a_units_presence_in_frames_is_told(tmp_path: Path) -> None:
    clips_and_frames(tmp_path)
    table = read_targets(tmp_path / TARGETS)
    table.values[:, table.names.index("au_4")] *= 0
    write_targets(table, tmp_path / TARGETS)
    told = "task.also: action_units: fold 0 has no usable training frame with au_4"
    with pytest.raises(UserError, match=told):
        train(task_params("expression", also=["action_units"]), root=tmp_path)


# nothing random, and all views in one batch
CALM = {
    "batch": 256,
    "feature_noise": 0.0,
    "flip": 0.0,
    "frame_drop": 0.0,
    "label_smoothing": 0.0,
    "class_weights": "none",
}


def trainer_of(params: Params, dataset: Dataset, root: Path, labels: list[str]) -> Trainer:
    task = make_task(dataset, params.train)
    splits = read_splits(root / "data/splits.parquet")
    (fold,) = read_folds(splits, labels, dataset, [0])
    also = sum(len(one.kind.outputs) for one in dataset.further)
    config = network_config(params, dataset.metadata, len(dataset.kind.outputs), 4, also)
    torch.manual_seed(0)
    network = build_network(config, dataset.metadata)
    fabric = Processes(params.train).fabric
    return Trainer(fabric, network, dataset, dataset.features, task, fold, 0, params.train)


@pytest.fixture
def calm(data: Path) -> Trainer:
    raw = task_params("expression", also=["action_units"], also_weight=0.7, train=CALM).model_dump()
    for section in ("fusion", "relation"):
        raw[section] |= {name: 0.0 for name in raw[section] if name.endswith("dropout")}
    params = Params.model_validate(raw)
    manifest = read_manifest(data / "data/manifest.parquet")
    dataset, labels = load(manifest, data, task=params.task)
    return trainer_of(params, dataset, data, list(labels.of_clip))


def test_each_task_has_the_loss_of_its_own_units(calm: Trainer) -> None:
    sizes, losses = calm.batches(np.random.default_rng(0), torch.Generator().manual_seed(0))
    (found,) = losses
    dataset, clips = calm.task.dataset, calm.fold.train
    assert sizes == [len(clips)]
    network = calm.network

    def outputs(task: Task) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        views = task.evaluation(clips)
        label = torch.from_numpy(task.labels(views))
        batch = dataset.features.take(torch.from_numpy(views.rows), label)
        return run_network(network, batch), label

    whole, classes = outputs(calm.task)
    single, units = outputs(calm.further[0].task)
    assert single["also_frame_logits_BTJ"].shape == units.shape
    known = ~units.isnan()
    assert 0 < known.sum() < units.numel()
    of_clips = cross_entropy(whole["logits_BK"], classes)
    of_frames = binary_cross_entropy_with_logits(
        single["also_frame_logits_BTJ"][known], units[known]
    )
    assert found.item() == pytest.approx((of_clips + 0.7 * of_frames).item(), rel=1e-5)
    # the trunk learns from both, and each head from its own task
    named = dict(network.named_parameters())
    heads = {name for name in named if name.startswith(("head.", "also_head."))}
    assert len(heads) == 4

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor | None]:
        each = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        return dict(zip(named, each, strict=True))

    both, first, second = map(gradients, (found, of_clips, of_frames))
    assert first["also_head.weight"] is None
    assert second["head.weight"] is None
    for name in named.keys() - heads:
        one, other, total = first[name], second[name], both[name]
        assert one is not None
        assert other is not None
        assert total is not None
        assert one.abs().max() > 0
        assert other.abs().max() > 0
        torch.testing.assert_close(total, one + 0.7 * other, rtol=1e-3, atol=1e-6)


def test_a_step_has_a_batch_of_each_however_many_views_there_are(data: Path) -> None:
    settings = {"batch": 5, "min_steps": 12, "epochs": 1}
    params = task_params("expression", also=["action_units"], train=settings)
    manifest = read_manifest(data / "data/manifest.parquet")
    dataset, labels = load(manifest, data, task=params.task)
    trainer = trainer_of(params, dataset, data, list(labels.of_clip))

    def epoch(seed: int) -> list[float]:
        torch.manual_seed(0)
        draws = torch.Generator().manual_seed(0)
        sizes, losses = trainer.batches(np.random.default_rng(seed), draws)
        found = [loss.item() for loss in losses]
        assert len(found) == len(sizes) == 12
        return found

    first = epoch(0)
    assert epoch(0) == first
    assert epoch(1) != first
