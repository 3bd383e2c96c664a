"""The evaluate stage from a predictions table made by hand."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate import traits
from arpgnet.pipeline.evaluate.run import evaluate
from arpgnet.pipeline.evaluate.units import interval_units
from arpgnet.pipeline.tables.curves import RUN_METADATA
from arpgnet.pipeline.tables.manifest import Clip, write_manifest
from arpgnet.pipeline.tables.predictions import (
    PREDICTIONS,
    Units,
    prediction_rows,
    write_predictions,
)
from arpgnet.pipeline.tables.text_files import write_json
from arpgnet.pipeline.train.curve_log import RunLog

CLASSES = ["calm", "glad"]
SUBJECTS, SEEDS, FOLDS = 6, (0, 5), 2
LABELS = {f"s{s}-{k}": k for s in range(SUBJECTS) for k in (0, 1)}
WRONG = {0: {"s0-0", "s3-1"}, 5: {"s0-0"}}  # by seed
LOST = "s5-1"


def probabilities(clips: list[str], wrong: set[str]) -> np.ndarray:
    predicted = [1 - LABELS[clip] if clip in wrong else LABELS[clip] for clip in clips]
    return np.array([[0.8, 0.2], [0.2, 0.8]])[predicted]


def rows(clips: list[str], wrong: set[str], **where: object) -> list[pa.Table]:
    known = [clip for clip in clips if clip != LOST]
    lost = [clip for clip in clips if clip == LOST]
    values = probabilities(known, wrong)
    return [
        prediction_rows(units(known), values, **where),  # type: ignore[arg-type]
        prediction_rows(units(lost), None, **where),  # type: ignore[arg-type]
    ]


def units(clips: list[str]) -> Units:
    return Units(np.array(clips, object), np.array([LABELS[c] for c in clips], np.int64), None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(
    root: Path,
    *,
    subjects: bool = True,
    said: dict[str, str] | None = None,
    recordings: dict[str, str] | None = None,
) -> None:
    """`said` gives a subject's traits as JSON; `recordings` is the note that ingest makes."""
    clips = [
        Clip(
            clip,
            f"{clip}.mp4",
            "00",
            label_index=k,
            subject=clip[:2] if subjects else None,
            traits=(said or {}).get(clip[:2]),
        )
        for clip, k in LABELS.items()
    ]
    notes = {"recordings": recordings} if recordings else None
    path = root / "data/manifest.parquet"
    write_manifest(clips, path, classes=CLASSES, dataset="hand", notes=notes)
    tables = []
    for fold in range(FOLDS):
        test = [clip for clip in LABELS if int(clip[1]) % FOLDS == fold]
        for seed in SEEDS:
            where = {"model": "arpgnet", "fold": fold, "seed": seed}
            tables += rows(test, WRONG[seed], split="test", **where)
            tables += rows([c for c in LABELS if c not in test], set(), split="val", **where)
            log_run(root, fold, seed, epochs=2 + fold)
        where = {"model": "majority", "fold": fold, "seed": 0, "split": "test"}
        tables += rows(test, {clip for clip in test if LABELS[clip] == 1}, **where)
    write_predictions(tables, CLASSES, root / PREDICTIONS)


def log_run(root: Path, fold: int, seed: int, *, epochs: int) -> None:
    """Write what training says of a run: its curves and its metadata."""
    curves = root / f"artifacts/runs/fold{fold}-seed{seed}/curves"
    with RunLog(curves, lambda **_: None) as log:
        for epoch in range(epochs):
            scores = {"val_uar": 0.1 * epoch, "val_macro_f1": 0.1 * epoch}
            log.add(epoch, {"train_loss": 1.0 + seed, "val_loss": 2.0, **scores})
    metadata = {"epochs": epochs, "improving": True, "refitted": 9, "temperature": 0.5}
    metadata["domain"] = {"beyond": 0.25 * fold, "percentile": 0.5, "differs": False}
    write_json(metadata | {"best_epoch": 0, "epoch_steps": 6}, curves.with_name(RUN_METADATA))


def results(root: Path, **settings: object) -> tuple[dict, dict]:
    evaluate(EvaluateParams.model_validate({"bootstrap": 200} | settings), root=root)
    files = (root / "reports/metrics.json", root / "reports/evaluation.json")
    first, second = (json.loads(file.read_text()) for file in files)
    return first, second


def test_numbers_by_hand(root: Path) -> None:
    metrics, details = results(root)
    # of 12 clips one has no prediction and counts as wrong; seed 0 has two more errors, seed 5 one
    assert metrics["war"]["mean"] == pytest.approx((9 / 12 + 10 / 12) / 2, abs=1e-6)
    assert metrics["war"]["std"] == pytest.approx(np.std([9 / 12, 10 / 12], ddof=1), abs=1e-6)
    assert metrics["recall"] == {"calm": pytest.approx(5 / 6, abs=1e-6), "glad": 0.75}
    assert metrics["coverage"]["mean"] == pytest.approx(11 / 12, abs=1e-6)
    assert metrics["war"]["ci_low"] < metrics["war"]["mean"] < metrics["war"]["ci_high"]
    assert metrics["clips"] == 12
    assert metrics["val_uar"]["mean"] > metrics["uar"]["mean"]
    assert metrics["baselines"]["majority"] == {"war": 0.5, "uar": 0.5}
    assert metrics["beats_baselines"] is True
    assert metrics["domain"]["percentile"] == {"mean": 0.5, "std": 0.0}
    assert details["gain_over_baselines"]["majority"]["uar"]["mean"] == pytest.approx(
        metrics["uar"]["mean"] - 0.5, abs=1e-6
    )
    assert details["models"]["arpgnet"]["confusion"] == [[10, 2, 0], [1, 9, 2]]
    assert details["clips_without_prediction"] == 1
    assert (details["interval_unit"], details["intervals_over"]) == ("subject", 6)
    assert len(details["runs"]) == 4
    by_run = [run["war"] for run in details["runs"]]
    assert metrics["fold_mean"]["war"]["mean"] == pytest.approx(np.mean(by_run), abs=1e-6)
    assert metrics["fold_mean"]["war"]["std"] == pytest.approx(np.std(by_run, ddof=1), abs=1e-6)
    # every clip is predicted with 0.8; of 11 with a prediction 9 and 10 are correct
    assert metrics["overconfidence"]["mean"] == pytest.approx(0.8 - 9.5 / 11, abs=1e-6)
    assert metrics["ece"]["mean"] == pytest.approx(9.5 / 11 - 0.8, abs=1e-6)
    by_subject = {row["subject"]: row["war"] for row in details["subjects"]["rows"]}
    assert by_subject == {"s0": 0.5, "s3": 0.75, "s5": 0.5, "s1": 1, "s2": 1, "s4": 1}
    # of two networks one names s3-1 wrongly: together they cannot decide, and the first class wins
    assert [row["clip_id"] for row in details["mistakes"]] == ["s0-0", "s3-1"]
    predictions = (root / PREDICTIONS).read_bytes()
    assert details["predictions_sha256"] == hashlib.sha256(predictions).hexdigest()


def test_seeds_together_are_a_model_of_their_own(root: Path) -> None:
    metrics, details = results(root)
    together = metrics["ensemble"]
    # seed 5 is wrong where seed 0 is, at s0-0; at s3-1 they disagree: 0.5 each, the first class
    assert together["war"]["mean"] == pytest.approx(9 / 12, abs=1e-6)
    assert details["models"]["ensemble"]["seeds"] == [0]
    assert details["models"]["ensemble"]["confusion"] == [[5, 1, 0], [1, 4, 1]]
    gain = details["ensemble"]["gain_over_networks"]
    assert gain == together["gain"]["uar"]
    assert gain["mean"] == pytest.approx(together["uar"]["mean"] - metrics["uar"]["mean"], abs=1e-6)
    assert gain["ci_low"] <= gain["mean"] <= gain["ci_high"]
    over = details["ensemble"]["gain_over_baselines"]["majority"]["uar"]
    assert over["mean"] == pytest.approx(together["uar"]["mean"] - 0.5, abs=1e-6)
    # it is not among the baselines, nor what `beats_baselines` is about
    assert set(metrics["baselines"]) == set(details["gain_over_baselines"]) == {"majority"}


def test_error_without_the_temperature(root: Path) -> None:
    metrics, _ = results(root)
    # 0.8 and 0.2 at a temperature of 0.5 were 2/3 and 1/3 at one of 1
    assert metrics["ece"]["mean"] == pytest.approx(9.5 / 11 - 0.8, abs=1e-6)
    assert metrics["ece_uncalibrated"]["mean"] == pytest.approx(9.5 / 11 - 2 / 3, abs=1e-6)


def test_missing_clips_can_be_skipped(root: Path) -> None:
    metrics, _ = results(root, missing="skip")
    assert metrics["war"]["mean"] == pytest.approx((9 / 11 + 10 / 11) / 2, abs=1e-6)
    assert metrics["coverage"]["mean"] == pytest.approx(11 / 12, abs=1e-6)


def test_a_network_no_better_than_a_baseline_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WRONG, 0, set(LABELS))
    monkeypatch.setitem(WRONG, 5, set(LABELS))
    write(root)
    metrics, details = results(root)
    assert metrics["beats_baselines"] is False
    assert details["gain_over_baselines"]["majority"]["uar"]["ci_high"] < 0


def test_same_bytes_again(root: Path) -> None:
    results(root)
    first = {p: p.read_bytes() for p in (root / "reports").rglob("*") if p.is_file()}
    results(root)
    assert first == {p: p.read_bytes() for p in (root / "reports").rglob("*") if p.is_file()}


def test_metrics_are_numbers_for_dvc(root: Path) -> None:
    def leaves(node: object) -> list[object]:
        if not isinstance(node, dict):
            return [node]
        return [leaf for value in node.values() for leaf in leaves(value)]

    assert all(isinstance(value, int | float) for value in leaves(results(root)[0]))


def test_plot_tables(root: Path) -> None:
    results(root)
    plots = root / "reports/plots"
    with (plots / "confusion.csv").open() as file:
        pairs = [(row["actual"], row["predicted"]) for row in csv.DictReader(file)]
    assert len(pairs) == 12 * len(SEEDS)
    assert pairs.count(("glad", "none")) == 2
    assert pairs.count(("calm", "glad")) == 2
    with (plots / "reliability.csv").open() as file:
        bins = list(csv.DictReader(file))
    # all 22 predictions have a confidence of 0.8, 19 of them are correct
    numbers = {"probability": "0.800000", "accuracy": "0.863636", "perfect": "0.800000"}
    assert bins == [{**numbers, "predictions": "22"}]
    with (plots / "subjects.csv").open() as file:
        subjects = list(csv.DictReader(file))
    shown = json.loads((root / "reports/evaluation.json").read_text())["subjects"]["rows"]
    assert [row["subject"] for row in subjects] == [row["subject"] for row in shown]
    assert [float(row["uar"]) for row in subjects] == [row["uar"] for row in shown]
    with (plots / "curves.csv").open() as file:
        curves = list(csv.DictReader(file))
    assert len(curves) == 2 * 2 + 2 * 3
    assert curves[0] == {
        "run": "fold0-seed0", "epoch": "0", "train_loss": "1.000000", "val_loss": "2.000000",
        "val_uar": "0.000000", "val_macro_f1": "0.000000",
    }  # fmt: skip
    with (plots / "mean_curves.csv").open() as file:
        mean = list(csv.DictReader(file))
    # fold 0 stopped after two epochs: its 0.1 stands beside fold 1's 0.2
    assert [float(row["val_uar"]) for row in mean] == pytest.approx([0, 0.1, 0.15])


def test_interval_unit_without_subjects(root: Path) -> None:
    write(root, subjects=False)
    assert results(root)[1]["interval_unit"] == "clip"


def test_near_duplicates_are_drawn_together_where_subjects_are_not_known(root: Path) -> None:
    pairs = {f"s{s}-{k}": f"s{s}-0" for s in range(4) for k in (0, 1)}
    write(root, recordings=pairs)
    assert results(root)[1]["interval_unit"] == "subject"
    write(root, subjects=False)
    single, _ = results(root, bootstrap=2000)
    assert single["intervals_over"] == {"clip": 12}
    write(root, subjects=False, recordings=pairs)
    paired, details = results(root, bootstrap=2000)
    assert paired["intervals_over"] == {"near-duplicate group": 8}
    found = (details["interval_unit"], details["intervals_over"])
    assert found == ("near-duplicate group", 8)
    assert paired["uar"]["mean"] == single["uar"]["mean"]
    assert paired["uar"]["ci_low"] != single["uar"]["ci_low"]
    # of one performance that all clips show, nothing can be drawn
    write(root, subjects=False, recordings=dict.fromkeys(LABELS, "s0-0"))
    assert results(root)[1]["interval_unit"] == "clip"


def test_every_clip_twice_gives_the_interval_of_the_clips_once(tmp_path: Path) -> None:
    """Two files of each performance are no more evidence than one."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    right = rng.random(60) < 0.7

    def width(copies: int, *, joined: bool) -> float:
        names = [f"c{n}-{copy}" for n in range(60) for copy in range(copies)]
        label = np.repeat(truth, copies)
        values = np.repeat(np.where(right, truth, 1 - truth), copies)
        where = {"model": "arpgnet", "fold": 0, "seed": 0, "split": "test"}
        every = Units(np.array(names, object), label, None)
        tables = [prediction_rows(every, np.eye(2)[values] * 0.6 + 0.2, **where)]
        write_predictions(tables, CLASSES, tmp_path / PREDICTIONS)
        clips = [
            Clip(name, f"{name}.mp4", "00", label_index=int(k))
            for name, k in zip(names, label, strict=True)
        ]
        notes = {"recordings": {name: name.split("-")[0] for name in names} if joined else {}}
        path = tmp_path / "data/manifest.parquet"
        write_manifest(clips, path, classes=CLASSES, dataset="hand", notes=notes)
        log_run(tmp_path, 0, 0, epochs=1)
        metrics, _ = results(tmp_path, bootstrap=2000)
        return float(metrics["uar"]["ci_high"] - metrics["uar"]["ci_low"])

    once = width(1, joined=False)
    assert width(2, joined=True) == pytest.approx(once, rel=0.1)
    assert width(2, joined=False) == pytest.approx(once / np.sqrt(2), rel=0.1)


def test_group_is_the_unit_where_subjects_are_not_known() -> None:
    clips = [
        {"clip_id": str(n), "subject": None if n else "a", "group": f"g{n % 2}"} for n in range(4)
    ]
    units = interval_units(clips)
    assert units.name == "group"
    assert units.of_clip["3"] == "g1"
    assert interval_units([clip | {"group": "same"} for clip in clips]).name == "clip"


def test_no_test_clip(root: Path) -> None:
    write_predictions(
        rows(list(LABELS), set(), model="arpgnet", fold=0, seed=0, split="val"),
        CLASSES,
        root / PREDICTIONS,
    )
    with pytest.raises(UserError, match="no test predictions"):
        results(root)


def test_no_prediction_left(root: Path) -> None:
    write_predictions(
        rows([LOST], set(), model="arpgnet", fold=0, seed=0, split="test"),
        CLASSES,
        root / PREDICTIONS,
    )
    with pytest.raises(UserError, match="leaves no clip"):
        results(root, missing="skip")


def test_absent_predictions(tmp_path: Path) -> None:
    write_manifest([], tmp_path / "data/manifest.parquet", classes=CLASSES, dataset="none")
    with pytest.raises(UserError, match="dvc repro train"):
        results(tmp_path)


@pytest.mark.parametrize("key", ["", "temperature", "epoch_steps"])
def test_a_run_of_an_earlier_version_is_one_line(root: Path, key: str) -> None:
    path = root / "artifacts/runs/fold0-seed5" / RUN_METADATA
    if key:
        write_json({k: v for k, v in json.loads(path.read_text()).items() if k != key}, path)
    else:
        path.unlink()
    with pytest.raises(UserError, match=rf"fold0-seed5/training.json .*{key}.*run `dvc repro`"):
        results(root)


def test_absent_curves_are_one_line(root: Path) -> None:
    next(root.glob("artifacts/runs/fold1-seed0/curves/**/val_uar.tsv")).unlink()
    with pytest.raises(UserError, match=r"val_uar.tsv not found: an earlier version .*`dvc repro`"):
        results(root)


def test_groups_of_people_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of a group are those of scikit-learn on its clips; small groups are counted."""
    monkeypatch.setattr(traits, "FEWEST_CLIPS", 4)
    said = {f"s{n}": json.dumps({"age": "old" if n < 3 else "young"}) for n in range(5)}
    said["s4"] = json.dumps({"age": "unique"})
    write(tmp_path, said=said)
    _, details = results(tmp_path)
    (table,) = details["traits"]["tables"]
    assert (table["trait"], table["unnamed"]) == ("age", 2)  # nothing is said of s5
    old, unique, young = table["rows"]
    assert (old["value"], old["clips"], old["subjects"], old["unit"]) == ("old", 6, 3, "subject")
    assert old["uar"]["ci_low"] <= old["uar"]["mean"] <= old["uar"]["ci_high"]
    for row in (unique, young):
        assert set(row) == {"value", "clips", "subjects"}
    clips = [clip for clip in LABELS if int(clip[1]) < 3]
    labels = [LABELS[clip] for clip in clips]
    expected = [
        balanced_accuracy_score(labels, probabilities(clips, WRONG[seed]).argmax(1))
        for seed in SEEDS
    ]
    assert old["uar"]["mean"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_without_traits_there_are_no_groups(root: Path) -> None:
    assert results(root)[1]["traits"]["tables"] == []
