"""What stands behind the headline: calibration by bin, subjects, the most confident mistakes."""

import numpy as np
import pytest

from arpgnet.pipeline.evaluate.metrics import calibration_error
from arpgnet.pipeline.evaluate.mistakes import confident_mistakes
from arpgnet.pipeline.evaluate.reliability import reliability
from arpgnet.pipeline.evaluate.subjects import subject_scores
from arpgnet.pipeline.tables.predictions import Predictions

CLASSES = ["calm", "glad"]


def predictions(
    rows: list[tuple[str, int, int, float]], frames: list[int] | None = None
) -> Predictions:
    """Rows of `(clip, seed, label, probability of class 1)`; NaN is no prediction."""
    clip, seed, label, glad = zip(*rows, strict=True)
    count = len(rows)
    return Predictions(
        classes=CLASSES,
        clip_id=np.array(clip, dtype=object),
        frame_index=np.array(frames or [-1] * count),
        model=np.array(["arpgnet"] * count, dtype=object),
        fold=np.zeros(count, int),
        seed=np.array(seed),
        split=np.array(["test"] * count, dtype=object),
        label=np.array(label),
        probabilities=np.column_stack([1 - np.array(glad), np.array(glad)]),
    )


def bins_of(label: np.ndarray, values: np.ndarray, unit: np.ndarray) -> list[dict]:
    return reliability(label, values, unit, resamples=200, confidence=0.95)


def test_bins_add_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), 400)
    label = rng.integers(0, 3, 400)
    found = bins_of(label, values, rng.integers(0, 9, 400))
    assert sum(row["predictions"] for row in found) == 400
    gaps = [row["predictions"] * abs(row["confidence"] - row["correct"]) for row in found]
    assert sum(gaps) / 400 == pytest.approx(calibration_error(label, values))
    for row in found:
        assert row["from"] < row["confidence"] <= row["to"]
        assert row["ci_low"] <= row["correct"] <= row["ci_high"]


def test_a_bin_of_one_subject_has_no_interval_and_lost_clips_stand_in_none() -> None:
    values = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [np.nan, np.nan]])
    found = bins_of(np.array([0, 1, 0, 0]), values, np.array([0, 1, 1, 1]))
    assert [(row["predictions"], row["correct"]) for row in found] == [(1, 1.0), (2, 0.5)]
    assert [("ci_low" in row) for row in found] == [False, True]
    assert bins_of(np.array([0]), values[3:], np.array([0])) == []


def test_each_subject_alone() -> None:
    rows = predictions(
        [
            # anna: one of two right, and both with the other seed; bo: no prediction; one nameless
            ("a0", 0, 0, 0.1), ("a1", 0, 1, 0.1), ("a0", 1, 0, 0.1), ("a1", 1, 1, 0.9),
            ("b0", 0, 0, np.nan), ("b0", 1, 0, np.nan), ("x", 0, 0, 0.1), ("x", 1, 0, 0.1),
        ]
    )  # fmt: skip
    people = {"a0": "anna", "a1": "anna", "b0": "bo", "x": None}
    found = subject_scores(rows, people, "wrong")
    assert found["rows"] == [
        {"subject": "bo", "clips": 1, "predictions": 1, "uar": 0.0, "war": 0.0},
        {"subject": "anna", "clips": 2, "predictions": 2, "uar": 0.75, "war": 0.75},
    ]
    assert found["unnamed"] == 1
    assert found["quartiles"]["uar"] == [0, 0.1875, 0.375, 0.5625, 0.75]
    # with `skip` nothing is left of bo, who stands last
    skipped = subject_scores(rows, people, "skip")
    assert [row["subject"] for row in skipped["rows"]] == ["anna", "bo"]
    assert np.isnan(skipped["rows"][1]["uar"])
    assert skipped["quartiles"]["uar"] == [0.75] * 5


def test_nobody_is_named() -> None:
    found = subject_scores(predictions([("a", 0, 0, 0.1)]), {"a": None}, "wrong")
    assert found == {"rows": [], "unnamed": 1, "quartiles": {"uar": [], "war": []}}


def test_mistakes_of_all_networks_together_surest_first() -> None:
    rows = predictions(
        [
            ("sure", 0, 0, 0.95), ("sure", 1, 0, 0.85),
            # one network is wrong, but not both together
            ("mixed", 0, 0, 0.6), ("mixed", 1, 0, 0.1),
            ("split", 0, 1, 0.45), ("split", 1, 1, 0.35),
            ("right", 0, 1, 0.99), ("right", 1, 1, 0.99),
            ("lost", 0, 1, np.nan), ("lost", 1, 1, np.nan),
        ]
    )  # fmt: skip
    found = confident_mistakes(rows)
    assert [row["clip_id"] for row in found] == ["sure", "split"]
    assert found[0] == {
        "clip_id": "sure", "frame_index": None, "label": "calm", "predicted": "glad",
        "probability": pytest.approx(0.9), "probability_of_label": pytest.approx(0.1),
        "networks": 2, "wrong": 2,
    }  # fmt: skip
    assert len(confident_mistakes(rows, most=1)) == 1


def test_of_labeled_frames_each_video_shows_its_worst() -> None:
    rows = predictions(
        [("a", 0, 0, 0.7), ("a", 0, 0, 0.9), ("a", 0, 0, 0.8), ("b", 0, 0, 0.75)], [3, 5, 7, 2]
    )
    found = confident_mistakes(rows)
    assert [(row["clip_id"], row["frame_index"]) for row in found] == [("a", 5), ("b", 2)]


def test_nothing_predicted_is_no_mistake() -> None:
    assert confident_mistakes(predictions([("a", 0, 0, np.nan)])) == []
