"""A second view on its way from the table to a trained network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.explain.occlusion import can_hide
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, read_predictions
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.checkpoints import load_run
from arpgnet.pipeline.training.data import Dataset, load
from helpers.synthetic_data import CHANNELS, EMBEDDING, REGIONS, small_params, write_data


@pytest.fixture(scope="module")
def seen_twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("views")
    write_data(root, parts=True)
    return root


def loaded(root: Path, views: str | None) -> Dataset:
    return load(read_manifest(root / "data/manifest.parquet"), root, views=views)[0]


def test_the_second_view_is_read_as_far_as_the_fusion_needs_it(seen_twice: Path) -> None:
    one, both = loaded(seen_twice, None), loaded(seen_twice, "attention")
    for name, value in one.features.tensors().items():
        assert torch.equal(value, both.features.tensors()[name])
    assert "views" not in one.metadata
    assert both.metadata["views"] == "attention"
    extra = set(both.features.tensors()) - set(one.features.tensors())
    assert extra == {"parts_embedding", "parts_map", "parts_cells"}
    assert "parts_cells" not in loaded(seen_twice, "mean").features.tensors()
    table = ShardReader(seen_twice / "data/appearance").read(both.clip_ids[3])
    valid = table["valid"].to_numpy()
    maps = to_numpy(table["parts_map"], (CHANNELS, REGIONS)).astype(np.float32)
    embedding = to_numpy(table["parts_embedding"], (EMBEDDING,))
    rows = both.rows(np.array([3]))
    found = {name: both.features.tensors()[name][rows].float().numpy() for name in extra}
    np.testing.assert_array_equal(found["parts_embedding"][valid], embedding[valid])
    np.testing.assert_array_equal(found["parts_cells"][valid], maps.transpose(0, 2, 1)[valid])
    np.testing.assert_allclose(found["parts_map"][valid], maps.mean(2)[valid], atol=2e-3)
    assert not any(value[~valid].any() for value in found.values())


def test_a_view_that_was_not_computed_is_asked_for_in_one_line(separable: Path) -> None:
    with pytest.raises(UserError, match=r"set appearance.views: \[face, parts\] and run"):
        loaded(separable, "mean")


def settings(fusion: str | None, mode: str = "parallel") -> Params:
    raw = small_params(epochs=8, folds=[0], refit=False, feature_noise=0.0).model_dump()
    raw["fusion"]["mode"] = mode
    if fusion:
        raw["appearance"]["views"] = ["face", "parts"]
        raw["views"]["fusion"] = fusion
    return parse_params(raw)


@pytest.mark.parametrize(
    ("fusion", "mode"),
    [
        pytest.param("attention", "appearance", marks=pytest.mark.slow),
        ("concat", "parallel"),
    ],
)
def test_a_network_of_two_views_is_trained_and_loaded(
    seen_twice: Path, tmp_path: Path, fusion: str, mode: str
) -> None:
    (tmp_path / "data").symlink_to(seen_twice / "data")
    train(settings(fusion, mode), root=tmp_path, store=Store(tmp_path / "store"))
    rows = read_predictions(tmp_path / "artifacts/predictions.parquet")
    rows = rows.select((rows.model == NETWORK) & (rows.split == "val"))
    assert (rows.predicted == rows.label).mean() > 0.5
    network, info = load_run(tmp_path / "artifacts/runs/fold0-seed0")
    assert network.config.views == info["features"]["views"] == fusion
    assert info["params"]["views"] == {"fusion": fusion}
    # a region that is hidden from the face is still seen among its parts
    assert "appearance" not in can_hide(network, np.eye(REGIONS).tolist())


def test_a_network_of_one_view_says_nothing_of_views(seen_twice: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(seen_twice / "data")
    train(settings(None), root=tmp_path, store=Store(tmp_path / "store"))
    network, info = load_run(tmp_path / "artifacts/runs/fold0-seed0")
    assert network.config.views is None
    assert "views" not in json.dumps(info)
