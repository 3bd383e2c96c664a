"""`--run ensemble`: the mean of the probabilities of all seeds of the best run's fold."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.features import Networks, rows_of
from arpgnet.pipeline.predict.model import Model, load_model
from arpgnet.pipeline.training.features import empty_features
from helpers.untrained_run import write_run

RUNS = "artifacts/runs"


def probabilities(model: Model) -> np.ndarray:
    """Of one face with random features in every frame of a clip."""
    count = model.params.decode.frames
    features = empty_features(count, model.info["features"])
    draws = torch.Generator().manual_seed(0)
    for tensor in features.tensors().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=draws))
        else:
            tensor.fill_(True)
    result = Networks(model).classify(np.arange(count), {1: rows_of(features)})[1]
    return np.asarray(result.probabilities)


def test_ensemble_is_the_mean_of_its_folds_runs(tmp_path: Path) -> None:
    root = write_run(tmp_path / "own", seed=0)
    for number, name in ((1, "fold0-seed1"), (2, "fold1-seed0")):
        other = write_run(tmp_path / str(number), seed=number)
        shutil.copytree(other / RUNS / "fold0-seed0", root / RUNS / name)
    single = [probabilities(load_model(root, f"fold0-seed{seed}")) for seed in (0, 1)]
    assert np.abs(single[0] - single[1]).max() > 0.01
    model = load_model(root, "ensemble")
    assert model.name == "ensemble of fold0-seed0, fold0-seed1"
    np.testing.assert_allclose(probabilities(model), np.mean(single, axis=0), atol=1e-6)


def test_ensemble_has_the_mean_of_its_runs_thresholds(tmp_path: Path) -> None:
    units = {"kind": "action_units", "outputs": ["au_1", "au_12"]}
    also = {"valence_arousal": ["valence", "arousal"]}
    root = write_run(tmp_path / "own", **units, also=also, thresholds={"action_units": [0.2, 0.4]})
    thresholds = {"action_units": [0.4, 0.8]}
    other = write_run(tmp_path / "other", seed=1, **units, also=also, thresholds=thresholds)
    shutil.copytree(other / RUNS / "fold0-seed0", root / RUNS / "fold0-seed1")
    model = load_model(root, "ensemble")
    assert model.thresholds == pytest.approx({"au_1": 0.3, "au_12": 0.6})
    assert [one.kind for one in model.displays] == ["action_units", "valence_arousal"]


def test_one_seed_makes_no_ensemble(tmp_path: Path) -> None:
    root = write_run(tmp_path)
    with pytest.raises(UserError, match=r"fold0-seed0 is its fold's only run.*train\.seeds"):
        load_model(root, "ensemble")
