"""The train stage on synthetic shards: it learns, repeats itself, resumes and refuses."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams, Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.common.progress import Tracker
from arpgnet.pipeline.evaluate.summary import summarize
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.curves import read_curves, read_run_metadata
from arpgnet.pipeline.tables.manifest import SPLITS_SCHEMA, read_manifest, read_splits, write_table
from arpgnet.pipeline.tables.predictions import (
    PREDICTIONS,
    Predictions,
    read_predictions,
    temper,
)
from arpgnet.pipeline.train import calibrate, run
from arpgnet.pipeline.train.fit import Trainer
from arpgnet.pipeline.train.folds import Fold, Part, read_folds, refits
from arpgnet.pipeline.train.run import RUNS, train
from arpgnet.pipeline.train.training import Training
from arpgnet.pipeline.training.checkpoints import MODEL, load_domain, load_run
from arpgnet.pipeline.training.data import Dataset, load
from arpgnet.pipeline.training.domain import Domain, view_means
from arpgnet.pipeline.training.kinds.expression import CrossEntropy
from arpgnet.pipeline.training.network import config_from_dict, logits_of, network_config
from arpgnet.pipeline.training.state import State
from arpgnet.pipeline.training.tasks import ClipTask, make_task
from helpers.synthetic_data import CLASSES, FRAMES, LOST, small_params, write_data


def files(root: Path) -> dict[str, bytes]:
    paths = sorted((root / "artifacts").rglob("*"))
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def fresh(source: Path, target: Path) -> Path:
    shutil.copytree(source / "data", target / "data")
    return target


def uar(found: Predictions, model: str = "arpgnet") -> float:
    rows = found.select((found.model == model) & (found.split == "test") & (found.predicted >= 0))
    hits = [(rows.predicted == rows.label)[rows.label == k].mean() for k in range(len(CLASSES))]
    return float(np.mean(hits))


@pytest.fixture(scope="module")
def trained(separable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = fresh(separable, tmp_path_factory.mktemp("trained"))
    train(small_params(), root=root, store=Store(root / "store"))
    return root


def test_separable_problem_is_learned(trained: Path) -> None:
    found = read_predictions(trained / PREDICTIONS)
    assert uar(found) > 0.75
    assert uar(found, "logreg_map_grid") > 0.75
    assert uar(found, "majority") == pytest.approx(1 / 3, abs=0.05)


def test_shuffled_labels_give_chance(tmp_path: Path) -> None:
    write_data(tmp_path, shuffled=True)
    train(small_params(epochs=4), root=tmp_path)
    found = read_predictions(tmp_path / PREDICTIONS)
    # 47 clips at 1/3: three standard errors
    assert abs(uar(found) - 1 / 3) < 0.21
    assert abs(uar(found, "logreg_map_grid") - 1 / 3) < 0.21


def test_rows_follow_the_contract(trained: Path) -> None:
    found = read_predictions(trained / PREDICTIONS)
    assert found.classes == CLASSES
    assert set(found.model) == {
        "arpgnet", "majority", "logreg_embedding", "logreg_map", "logreg_map_grid",
    }  # fmt: skip
    network = found.select(found.model == "arpgnet")
    tested = network.clip_id[network.split == "test"]
    everyone = [c.clip_id for c in read_manifest(trained / "data/manifest.parquet").clips]
    assert sorted(tested) == sorted(everyone)
    assert set(found.split[found.model != "arpgnet"]) == {"test"}
    known = ~np.isnan(found.probabilities).any(1)
    np.testing.assert_allclose(found.probabilities[known].sum(1), 1, atol=1e-5)
    assert set(found.clip_id[~known]) == {LOST}
    assert set(found.model[~known]) == set(found.model)


def test_loaded_network_repeats_the_stored_probabilities(trained: Path) -> None:
    network, info = load_run(trained / RUNS / "fold1-seed0")
    assert info["classes"] == CLASSES
    assert info["fold"] == 1
    found = read_predictions(trained / PREDICTIONS)
    rows = found.select((found.model == "arpgnet") & (found.fold == 1) & (found.split == "test"))
    dataset, _ = load(read_manifest(trained / "data/manifest.parquet"), trained)
    views = ClipTask(dataset, small_params().train).evaluation(
        np.array([dataset.clip_ids.index(clip) for clip in rows.clip_id])
    )
    batch = dataset.features.take(torch.from_numpy(views.rows), torch.from_numpy(views.clip))
    with torch.inference_mode():
        probabilities = logits_of(network, batch).softmax(1)
    np.testing.assert_allclose(probabilities.numpy(), rows.probabilities, atol=1e-4)


@pytest.mark.slow  # that it learns and that its attention is shown, quick tests of models see
def test_a_network_with_a_layer_of_torch_geometric_is_stored_and_loaded(
    separable: Path, tmp_path: Path
) -> None:
    root = fresh(separable, tmp_path)
    settings = small_params(epochs=4, folds=[0]).model_dump()
    settings["relation"] |= {"conv": "TransformerConv", "conv_args": {"edge_dim": 2}}
    train(parse_params(settings), root=root)
    before = files(root)
    found = read_predictions(root / PREDICTIONS)
    assert uar(found) > 0.5
    network, info = load_run(root / RUNS / "fold0-seed0")
    assert info["params"]["relation"]["conv_args"] == {"edge_dim": 2}
    rows = found.select(
        (found.model == "arpgnet") & (found.split == "test") & (found.predicted >= 0)
    )
    dataset, _ = load(read_manifest(root / "data/manifest.parquet"), root)
    views = ClipTask(dataset, small_params().train).evaluation(
        np.array([dataset.clip_ids.index(clip) for clip in rows.clip_id])
    )
    batch = dataset.features.take(torch.from_numpy(views.rows), torch.from_numpy(views.clip))
    with torch.inference_mode():
        probabilities = logits_of(network, batch).softmax(1)
    np.testing.assert_allclose(probabilities.numpy(), rows.probabilities, atol=1e-4)
    shutil.rmtree(root / "artifacts")
    train(parse_params(settings), root=root, store=Store(root / "store"))
    assert files(root) == before


def test_a_run_of_before_the_arguments_of_layers_is_loaded() -> None:
    plain = asdict(
        network_config(small_params(), {"embedding_dim": 4, "map_shape": [3, 7, 7]}, 3, 4)
    )
    expected = config_from_dict(json.loads(json.dumps(plain)))
    del plain["relation"]["conv_args"]
    assert config_from_dict(plain) == expected


def test_curves_are_those_of_the_run(trained: Path) -> None:
    _, info = load_run(trained / RUNS / "fold0-seed0")
    curves = read_curves(trained / RUNS / "fold0-seed0" / "curves")
    best = max(curves, key=lambda row: (row["val_uar"], -row["val_loss"]))
    assert best == pytest.approx(info["validation"], abs=1e-6)
    assert curves.index(best) == info["best_epoch"]


def test_second_run_takes_everything_from_the_store(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fresh(trained, tmp_path)
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("a finished run was trained again"))
    monkeypatch.setattr(
        run, "baselines", lambda *_, **__: pytest.fail("baselines were fitted again")
    )
    train(small_params(), root=root, store=Store(trained / "store"))
    assert files(root) == files(trained)


def test_same_bytes_from_an_empty_store(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    torch.manual_seed(99)  # whatever came before
    train(small_params(), root=root)
    assert files(root) == files(trained)


def test_average_of_the_weights_is_what_is_kept(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    weights = []
    for average in (0.0, 0.5):
        train(small_params(epochs=3, folds=[0], average=average), root=root)
        network, _ = load_run(root / RUNS / "fold0-seed0")
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert 1e-4 < (weights[1] - weights[0]).abs().mean() < 0.1


@pytest.mark.parametrize("saves", [True, False])
def test_killed_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: bool
) -> None:
    root = fresh(trained, tmp_path)
    epoch = Trainer._epoch

    def killed(self: Trainer, state: State) -> None:
        if self.fold.number == 1 and len(state.history) == 5:
            raise KeyboardInterrupt
        epoch(self, state)

    # a checkpoint after every epoch, or none at all: the end is the same
    seconds = 0.0 if saves else 1e9
    monkeypatch.setattr(Trainer, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(small_params(), root=root, checkpoint_seconds=seconds)
    assert Store().stats()["train"].entries == 1
    assert ("train-checkpoint" in Store().stats()) == saves
    seen: list[int] = []

    def watched(self: Trainer, state: State) -> None:
        seen.append(len(state.history))
        epoch(self, state)

    counted: list[tuple[int, bool]] = []

    def advance(self: Tracker, count: int = 1, *, restored: bool = False) -> None:
        if self.unit == "epochs":
            counted.append((count, restored))

    monkeypatch.setattr(Tracker, "advance", advance)
    monkeypatch.setattr(Trainer, "_epoch", watched)
    shutil.rmtree(root / "artifacts")
    train(small_params(), root=root, checkpoint_seconds=seconds)
    assert seen[0] == (5 if saves else 0)
    whole = counted[0]
    assert whole[1]  # the finished run, before anything else
    assert sum(count for count, _ in counted) == 2 * whole[0]
    assert sum(count for count, restored in counted[1:] if restored) == (5 if saves else 0)
    assert files(root) == files(trained)
    assert Store().stats()["train"].entries == 2
    assert "train-checkpoint" not in Store().stats()


def test_run_killed_in_its_refit_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fresh(trained, tmp_path)
    epoch = Trainer._epoch

    def killed(self: Trainer, state: State) -> None:
        if self.settings.stop is not None and len(state.history) == 2:
            raise KeyboardInterrupt
        epoch(self, state)

    monkeypatch.setattr(Trainer, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(small_params(), root=root, checkpoint_seconds=0.0)
    assert {"train-selected", "train-refit-checkpoint"} <= Store().stats().keys()
    seen: list[tuple[bool, int]] = []

    def watched(self: Trainer, state: State) -> None:
        seen.append((self.settings.stop is not None, len(state.history)))
        epoch(self, state)

    monkeypatch.setattr(Trainer, "_epoch", watched)
    shutil.rmtree(root / "artifacts")
    train(small_params(), root=root, checkpoint_seconds=0.0)
    # selection is not repeated
    assert seen[0] == (True, 2)
    assert files(root) == files(trained)
    assert not {name for name in Store().stats() if name.startswith("train-")}


def test_refit_changes_what_is_used_and_nothing_that_selects(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    train(small_params(refit=False), root=root)
    both = [read_predictions(folder / PREDICTIONS) for folder in (trained, root)]
    for part, same in (("val", True), ("test", False)):
        new, old = (rows.select(rows.split == part).probabilities for rows in both)
        assert np.array_equal(new, old, equal_nan=True) == same
    for run_name in ("fold0-seed0", "fold1-seed0"):
        (weights, new), (others, old) = (load_run(one / RUNS / run_name) for one in (trained, root))
        assert new["validation"] == old["validation"]
        assert new["best_epoch"] == old["best_epoch"]
        # 47 or 48 clips in two folds, of which the others are tested
        assert new["refitted"] in (23, 24)
        assert old["refitted"] == 0
        assert not torch.equal(weights.head.weight, others.head.weight)


def test_weights_know_nothing_of_the_test_clips(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    splits = read_splits(root / "data/splits.parquet").to_pylist()
    tested = [row for row in splits if row["split"] == "test"]
    few = {row["fold"]: row for row in tested if row["clip_id"] != LOST}.values()
    rows = [row for row in splits if row["split"] != "test"] + list(few)
    write_table(pa.Table.from_pylist(rows, SPLITS_SCHEMA), root / "data/splits.parquet")
    train(small_params(), root=root)
    assert len(read_predictions(root / PREDICTIONS).label) < len(tested)
    for run_name in ("fold0-seed0", "fold1-seed0"):
        path = Path(RUNS, run_name, MODEL)
        assert (root / path).read_bytes() == (trained / path).read_bytes()


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_refit_learns_from_training_and_validation_only(
    trained: Path, tmp_path: Path, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of one part are made constant: weights change if, and only if, it is learned."""
    root = fresh(trained, tmp_path)

    def spoiled(fold: Fold, dataset: Dataset) -> None:
        rows = dataset.rows(fold.clips(part))
        for tensor in dataset.features.tensors().values():
            if tensor.is_floating_point():
                tensor[torch.from_numpy(rows[rows >= 0])] = 0.5

    selected = Training._select
    monkeypatch.setattr(
        Training,
        "_select",
        # after selection: what it does with validation is not the question
        lambda self, one, on_epoch: (
            selected(self, one, on_epoch),
            spoiled(one.fold, self.dataset),
        )[0],
    )
    train(small_params(folds=[0]), root=root, store=Store(root / "store"))
    path = Path(RUNS, "fold0-seed0", MODEL)
    same = (root / path).read_bytes() == (trained / path).read_bytes()
    assert same == (part == "test")


def test_large_sets_are_not_refitted(trained: Path) -> None:
    dataset, _ = load(read_manifest(trained / "data/manifest.parquet"), trained)
    task = ClipTask(dataset, small_params().train)

    def rule(clips: int, **train: object) -> bool:
        parts = {"train": np.zeros(clips - 1, np.int64), "val": np.zeros(1, np.int64)}
        return refits(
            small_params(**train).train, task, Fold(0, **parts, test=parts["val"], lost=[])
        )

    assert rule(2000) is True
    assert rule(2001) is False
    assert rule(2001, refit=True) is True
    assert rule(10, refit=False) is False


@pytest.mark.parametrize("changed", [{"lr": 4e-3}, {"batch": 7}, {"flip": 0.0}])
def test_changed_parameter_is_another_run(
    trained: Path, tmp_path: Path, changed: dict[str, float]
) -> None:
    root = fresh(trained, tmp_path)
    params = small_params(epochs=1, folds=[0], **changed)
    train(params, root=root)
    train(small_params(epochs=1, folds=[0]), root=root)
    assert Store().stats()["train"].entries == 2


def test_seeds_give_different_networks(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    train(small_params(epochs=1, folds=[0], seeds=[0, 1]), root=root)
    weights = [(root / RUNS / f"fold0-seed{seed}" / MODEL).read_bytes() for seed in (0, 1)]
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    "fusion",
    [{"mode": mode} for mode in ("concat", "add", "cross", "appearance", "relation")]
    + [{"mode": "serial", "layers": 2}, {"window": None, "window_cross": 0}, {"conv": "dot"}],
    ids=str,
)
def test_every_mode_trains(trained: Path, tmp_path: Path, fusion: dict[str, object]) -> None:
    root = fresh(trained, tmp_path)
    values = small_params(epochs=1, folds=[0]).model_dump()
    values["fusion"] |= fusion
    train(Params.model_validate(values), root=root)
    network, _ = load_run(root / RUNS / "fold0-seed0")
    assert network.config.fusion.mode == fusion.get("mode", "parallel")


def test_early_stopping_keeps_the_best_epoch(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    train(small_params(epochs=30, patience=1, folds=[0]), root=root)
    curves = read_curves(root / RUNS / "fold0-seed0" / "curves")
    _, info = load_run(root / RUNS / "fold0-seed0")
    assert len(curves) == info["best_epoch"] + 2 < 30


def test_small_set_is_passed_over_until_it_has_its_steps(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fresh(trained, tmp_path)
    steps: list[int] = []
    follow = Trainer._follow

    def counted(self: Trainer, step: int) -> None:
        assert self.settings.epoch_steps == 7
        steps.append(step)
        follow(self, step)

    monkeypatch.setattr(Trainer, "_follow", counted)
    # 24 clips in batches of 8: three a pass
    train(small_params(epochs=4, min_steps=25, patience=4, folds=[0], refit=False), root=root)
    assert steps == list(range(28))
    assert len(read_curves(root / RUNS / "fold0-seed0" / "curves")) == 4


@pytest.mark.parametrize("improves", [True, False])
def test_run_that_is_best_at_its_end_says_so(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    improves: bool,
) -> None:
    root = fresh(trained, tmp_path)
    scores = iter([0.2, 0.4, 0.5, 0.6 if improves else 0.5])

    def validated(self: Trainer) -> dict[str, float]:
        score = next(scores)
        return {"val_loss": 1 - score, "val_uar": score, "val_macro_f1": score}

    monkeypatch.setattr(Trainer, "validate", validated)
    # patience cannot end a run whose last epoch is its best
    train(small_params(epochs=4, patience=1, folds=[0], refit=False), root=root)
    said = capfd.readouterr().err
    assert len(read_curves(root / RUNS / "fold0-seed0" / "curves")) == 4
    assert ("still improving" in said) == improves


def test_frames_are_learned_and_every_labeled_one_is_scored(tmp_path: Path) -> None:
    write_data(tmp_path, frame_labels=True)
    train(small_params(window=3, stride=2, epochs=8), root=tmp_path)
    found = read_predictions(tmp_path / PREDICTIONS)
    network = found.select((found.model == "arpgnet") & (found.split == "test"))
    clips = read_manifest(tmp_path / "data/manifest.parquet").clips
    wanted = {(clip.clip_id, frame) for clip in clips for frame in range(1, FRAMES)}
    assert set(zip(network.clip_id, network.frame_index.tolist(), strict=True)) == wanted
    assert len(network.label) == len(wanted)
    assert set(network.clip_id[network.predicted < 0]) == {LOST}
    assert uar(found) > 0.75
    assert uar(found, "logreg_map_grid") > 0.6
    metrics, _ = summarize(
        found,
        [{"clip_id": c.clip_id, "subject": c.subject, "group": None} for c in clips],
        EvaluateParams(bootstrap=100),
        {},
    )
    assert metrics["frames"] == len(wanted)
    assert metrics["clips"] == len(clips)


def test_segments_of_longer_clips(trained: Path, tmp_path: Path) -> None:
    root = fresh(trained, tmp_path)
    train(small_params(frames=2, offsets=2), root=root)
    assert uar(read_predictions(root / PREDICTIONS)) > 0.75


def test_unknown_fold(trained: Path) -> None:
    with pytest.raises(UserError, match=r"no fold 7; it has folds 0, 1"):
        train(small_params(folds=[7]), root=trained)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_fold_without_clips(trained: Path, tmp_path: Path, part: str) -> None:
    root = fresh(trained, tmp_path)
    splits = read_splits(root / "data/splits.parquet")
    other = "val" if part == "train" else "train"
    rows = [row | {"split": row["split"].replace(part, other)} for row in splits.to_pylist()]
    write_table(splits.from_pylist(rows, SPLITS_SCHEMA), root / "data/splits.parquet")
    what = "training clip of class 'anger'" if part == "train" else f"{part} clip"
    with pytest.raises(UserError, match=f"fold 0 has no usable {what}"):
        train(small_params(), root=root)


def test_diverging_training_is_explained(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fresh(trained, tmp_path)
    monkeypatch.setattr(CrossEntropy, "loss", lambda *_: torch.tensor(np.nan, requires_grad=True))
    with pytest.raises(UserError, match=r"diverged in epoch 0: lower train.lr"):
        train(small_params(), root=root)


def test_the_description_of_the_training_clips_has_seen_no_others(trained: Path) -> None:
    dataset, labels = load(read_manifest(trained / "data/manifest.parquet"), trained)
    task = make_task(dataset, small_params().train)
    splits = read_splits(trained / "data/splits.parquet")
    folds = read_folds(splits, labels.of_clip, dataset, "all")
    for fold in folds:
        found = load_domain(trained / RUNS / f"fold{fold.number}-seed0")
        assert found is not None
        train_part, val, test = (
            view_means(dataset.features, task.evaluation(fold.clips(part)).rows)
            for part in ("train", "val", "test")
        )
        expected = Domain.of(train_part, val)
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(found, name), value)
        metadata = read_run_metadata(trained / RUNS / f"fold{fold.number}-seed0")["domain"]
        beyond = expected.beyond(expected.distance(test)).double().mean()
        assert metadata["beyond"] == pytest.approx(float(beyond))
        assert metadata["differs"] is (metadata["beyond"] > 0.5)
        assert 0 <= metadata["percentile"] <= 1


def test_damaged_network_is_explained(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / RUNS / "fold0-seed0", tmp_path / "run")
    path = tmp_path / "run" / MODEL
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a trained network of ours"):
        load_run(tmp_path / "run")
    path.unlink()
    with pytest.raises(UserError, match="not a trained network of ours"):
        load_run(tmp_path / "run")


def test_artifacts_hold_no_trace_of_the_machine(trained: Path) -> None:
    for name, content in files(trained).items():
        assert str(trained).encode() not in content, name


def test_calibration_changes_probabilities_and_no_prediction(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "FEWEST", 1)
    calibrated, root = (fresh(trained, tmp_path / name) for name in ("calibrated", "plain"))
    params = small_params()
    plain = params.model_copy(update={"evaluate": EvaluateParams(calibrate=False)})
    train(params, root=calibrated, store=Store(tmp_path / "store"))
    # the store has the runs: only what is written differs
    train(plain, root=root, store=Store(tmp_path / "store"))
    new, old = (read_predictions(folder / PREDICTIONS) for folder in (calibrated, root))
    np.testing.assert_array_equal(new.predicted, old.predicted)
    for run_name in ("fold0-seed0", "fold1-seed0"):
        temperature = load_run(calibrated / RUNS / run_name)[1]["temperature"]
        assert load_run(root / RUNS / run_name)[1]["temperature"] == 1
        assert temperature != 1
        # of 6 validation clips none is chosen
        assert load_run(trained / RUNS / run_name)[1]["temperature"] == 1
        rows = (new.model == "arpgnet") & (new.fold == int(run_name[4])) & (new.predicted >= 0)
        np.testing.assert_allclose(
            new.probabilities[rows], temper(old.probabilities[rows], temperature), atol=1e-5
        )


@pytest.mark.parametrize("frame_labels", [True, False])
def test_several_views_are_averaged_after_calibration(tmp_path: Path, frame_labels: bool) -> None:
    write_data(tmp_path, frame_labels=frame_labels)
    params = small_params(window=3, stride=1, frames=2, offsets=2, epochs=4, folds=[1])
    train(params, root=tmp_path)
    network, _ = load_run(tmp_path / RUNS / "fold1-seed0")
    found = read_predictions(tmp_path / PREDICTIONS)
    rows = found.select((found.model == "arpgnet") & (found.split == "test"))
    dataset, _ = load(read_manifest(tmp_path / "data/manifest.parquet"), tmp_path)
    task = make_task(dataset, params.train)
    clips = np.array([dataset.clip_ids.index(clip) for clip in dict.fromkeys(rows.clip_id)])
    views = task.evaluation(clips)
    batch = dataset.features.take(
        torch.from_numpy(views.rows), torch.from_numpy(task.labels(views))
    )
    with torch.inference_mode():
        probabilities = logits_of(network, batch).softmax(-1).double().numpy()
    combined = task.combine(clips, views, probabilities)
    np.testing.assert_allclose(combined, rows.probabilities, atol=1e-4)
