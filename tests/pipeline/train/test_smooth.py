"""Smoothed predictions of frames: as a plain loop gives them, by a length that validation chose."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.predictions import NETWORK, Units, read_predictions
from arpgnet.pipeline.tables.smoothing import smoothed
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.train.smooth import LENGTHS, choose_smoothing
from arpgnet.pipeline.training.kinds import trained_task
from helpers.synthetic_data import small_params, write_data


def predicted(clips: int = 3, frames: int = 40, seed: int = 0) -> Units:
    """Frames of some clips: long stretches of one class, in any order and with gaps."""
    rng = np.random.default_rng(seed)
    clip = np.repeat([f"clip{number}" for number in range(clips)], frames).astype(object)
    frame = np.tile(np.arange(frames), clips)
    label = (frame // 10 + np.repeat(np.arange(clips), frames)) % 3
    kept = rng.permutation(np.flatnonzero(rng.random(len(frame)) < 0.9))
    return Units(clip[kept], label[kept].astype(np.int64), frame[kept].astype(np.int64))


def noisy(units: Units, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(units), 3)) + 0.8 * np.eye(3)[units.label]
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def plain(values: np.ndarray, units: Units, length: int, kind: str) -> np.ndarray:
    """Frame by frame, as the documentation says it."""
    assert units.frame_index is not None
    found = np.full(values.shape, np.nan)
    for row in range(len(units)):
        if np.isnan(values[row]).any():
            continue
        window = [
            values[other]
            for other in range(len(units))
            if units.clip_id[other] == units.clip_id[row]
            and abs(units.frame_index[other] - units.frame_index[row]) <= (length - 1) / 2
            and not np.isnan(values[other]).any()
        ]
        if kind == "expression":
            powers = np.exp(np.mean(np.log(window), axis=0))
            found[row] = powers / powers.sum()
        elif kind == "action_units":
            odds = np.array(window) / (1 - np.array(window))
            found[row] = 1 / (1 + np.exp(-np.mean(np.log(odds), axis=0)))
        else:
            found[row] = np.mean(window, axis=0)
    return found


@pytest.mark.parametrize("kind", ["expression", "action_units", "valence_arousal"])
@pytest.mark.parametrize("length", [3, 7, 101])
def test_smoothing_equals_a_plain_loop(kind: str, length: int) -> None:
    units = predicted()
    values = noisy(units)
    values[::9] = np.nan
    found = smoothed(values, units.clip_id, units.frame_index, length, kind)
    np.testing.assert_allclose(found, plain(values, units, length, kind), rtol=1e-9)


def test_a_window_ends_with_its_clip_and_skips_what_is_not_predicted() -> None:
    clip = np.array(["a", "a", "a", "a", "b", "b"], dtype=object)
    frame = np.array([0, 1, 2, 7, 0, 1])
    values = np.array([[0.1], [np.nan], [0.4], [0.7], [0.9], [0.8]])
    found = smoothed(values, clip, frame, 5, "valence_arousal")[:, 0]
    # a's last frame has no neighbor within two frames; b's first one none of a's
    np.testing.assert_allclose(found, [0.25, np.nan, 0.25, 0.7, 0.85, 0.85])
    assert smoothed(values, clip, frame, 1, "valence_arousal") is values


def test_one_impossible_class_does_not_decide_a_window() -> None:
    values = np.array([[0.0, 1.0], *[[0.999999, 0.000001]] * 8])
    found = smoothed(values, np.array(["a"] * 9), np.arange(9), 17, "expression")
    assert (found[:, 0] > 0.5).all()


def test_the_best_length_on_validation_is_chosen() -> None:
    units, kind = predicted(), trained_task("expression", ["a", "b", "c"])
    values = noisy(units)
    scores = {
        length: kind.scores(units.label, plain(values, units, length, "expression"))["macro_f1"]
        for length in LENGTHS
    }
    found = choose_smoothing("auto", units, values, kind, "macro_f1")
    assert found.length == max(scores, key=lambda one: scores[one])
    assert found.length > 1
    assert found.score == pytest.approx(scores[found.length], abs=1e-6)
    assert found.before == pytest.approx(scores[1], abs=1e-6)
    # of equal ones the shortest: perfect predictions need none
    perfect = np.where(np.eye(3)[units.label] > 0, 0.98, 0.01)
    assert choose_smoothing("auto", units, perfect, kind, "macro_f1").length == 1
    assert choose_smoothing(21, units, perfect, kind, "macro_f1").length == 21


def smoothing(params: Params, setting: object) -> Params:
    raw = params.model_dump()
    raw["evaluate"]["smooth"] = setting
    return parse_params(raw)


@pytest.mark.slow
def test_runs_are_smoothed_by_validation_alone(tmp_path: Path) -> None:
    write_data(tmp_path, frame_labels=True, signal=1.0)
    params = small_params(epochs=1, window=4, stride=4, folds=[0], refit=False)
    store = Store(tmp_path / "store")

    def run(setting: object) -> tuple[object, dict[str, object]]:
        train(smoothing(params, setting), root=tmp_path, store=store)
        folder = tmp_path / "artifacts/runs/fold0-seed0"
        return (
            read_predictions(tmp_path / "artifacts/predictions.parquet"),
            json.loads((folder / "training.json").read_text()),
        )

    before, metadata = run(1)
    assert "smoothing" not in metadata
    after, metadata = run("auto")
    chosen = metadata["smoothing"]["length"]
    mine = (before.model == NETWORK) & (before.fold == 0)
    held = before.select(mine & (before.split == "val"))
    units = Units(held.clip_id, held.label, held.frame_index)
    kind = trained_task("expression", before.classes)
    expected = choose_smoothing("auto", units, held.probabilities, kind, "macro_f1")
    assert metadata["smoothing"] == dataclasses.asdict(expected)
    # the test part and the baselines by the same window
    for model in sorted(set(before.model)):
        rows = (before.model == model) & (before.fold == 0) & (before.split == "test")
        raw = before.select(rows)
        np.testing.assert_allclose(
            after.select(rows).probabilities,
            smoothed(raw.probabilities, raw.clip_id, raw.frame_index, chosen, "expression"),
            atol=1e-6,
        )


def test_clips_cannot_be_smoothed(separable: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate.smooth: auto .* labels of clips: set it to 1"):
        train(smoothing(small_params(), "auto"), root=separable, store=Store(tmp_path))
    with pytest.raises(UserError, match=r"evaluate\.smooth: 4 is even"):
        smoothing(small_params(), 4)
