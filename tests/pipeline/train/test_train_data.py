from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_data import CHANNELS, FRAMES, LOST, REGIONS, write_data

from pipeline.clips import read_manifest
from pipeline.errors import UserError
from pipeline.shards import ShardReader, to_numpy
from pipeline.train.data import Dataset, load_dataset, statistics


def load(root: Path) -> Dataset:
    labels = {c.clip_id: c.label_index for c in read_manifest(root / "data/manifest.parquet").clips}
    return load_dataset(
        labels, ShardReader(root / "data/appearance"), ShardReader(root / "data/graphs")
    )


def test_features_equal_the_shards(separable: Path) -> None:
    dataset = load(separable)
    assert LOST not in dataset.clip_ids
    row = 7
    clip = dataset.clip_ids[row]
    table = ShardReader(separable / "data/appearance").read(clip)
    valid = table["valid"].to_numpy()
    maps = to_numpy(table["map"], (CHANNELS, REGIONS)).astype(np.float32)
    features = dataset.features
    np.testing.assert_array_equal(features.valid[row].numpy(), valid)
    # the pooling is the identity: node n is cell n
    np.testing.assert_array_equal(
        features.nodes[row].float().numpy()[valid], maps.transpose(0, 2, 1)[valid]
    )
    np.testing.assert_allclose(
        features.map_vector[row].float().numpy()[valid], maps.mean(2)[valid], atol=2e-3
    )
    assert not features.nodes[row][~features.valid[row]].any()


def test_pooling_of_every_frame_equals_the_constant_one(tmp_path: Path, separable: Path) -> None:
    write_data(tmp_path, per_frame_pooling=True)
    assert torch.equal(load(tmp_path).features.nodes, load(separable).features.nodes)


def test_shorter_clip_is_padded_with_invalid_frames(tmp_path: Path) -> None:
    write_data(tmp_path, short=["s1-joy-1"])
    dataset = load(tmp_path)
    row = dataset.clip_ids.index("s1-joy-1")
    assert dataset.features.valid.shape[1] == FRAMES
    assert not dataset.features.valid[row, FRAMES // 2 :].any()


def test_statistics_are_those_of_valid_training_frames(separable: Path) -> None:
    features = load(separable).features
    clips = torch.tensor([0, 3, 4, 9])
    found = statistics(features, clips)
    frames = features.nodes[clips][features.valid[clips]].double().flatten(0, 1)
    mean, std = found.nodes
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, frames.std(0, correction=0), rtol=1e-5)


def test_constant_feature_has_no_deviation(separable: Path) -> None:
    features = load(separable).features
    features.embedding[..., 2] = 7.3
    assert statistics(features, torch.arange(len(features))).embedding[1][2] == 0


def test_no_usable_clip_is_a_user_error(separable: Path) -> None:
    with pytest.raises(UserError, match="no clip has features"):
        load_dataset(
            {LOST: 0},
            ShardReader(separable / "data/appearance"),
            ShardReader(separable / "data/graphs"),
        )
