from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.training import features as features_module
from arpgnet.pipeline.training.data import Dataset, load, load_dataset
from arpgnet.pipeline.training.features import batches, statistics
from helpers.synthetic_data import CHANNELS, FRAMES, LOST, REGIONS, write_data


def loaded(root: Path) -> Dataset:
    return load(read_manifest(root / "data/manifest.parquet"), root)[0]


def share_of(root: Path, rank: int, world: int) -> Dataset:
    """What one of several processes loads."""
    labels = {clip.clip_id: 0 for clip in read_manifest(root / "data/manifest.parquet").clips}
    readers = (ShardReader(root / "data" / name) for name in ("appearance", "graphs"))
    return load_dataset(labels, *readers, rank=rank, world=world)


def test_features_equal_the_shards(separable: Path) -> None:
    dataset = loaded(separable)
    assert LOST not in dataset.clip_ids
    number = 7
    table = ShardReader(separable / "data/appearance").read(dataset.clip_ids[number])
    valid = table["valid"].to_numpy()
    maps = to_numpy(table["map"], (CHANNELS, REGIONS)).astype(np.float32)
    rows = dataset.rows(np.array([number]))
    features = dataset.features
    np.testing.assert_array_equal(features.valid[rows].numpy(), valid)
    # the pooling is the identity: node n is cell n
    np.testing.assert_array_equal(
        features.nodes[rows].float().numpy()[valid], maps.transpose(0, 2, 1)[valid]
    )
    np.testing.assert_allclose(
        features.map_vector[rows].float().numpy()[valid], maps.mean(2)[valid], atol=2e-3
    )
    assert not features.nodes[rows][~features.valid[rows]].any()


def test_pooling_of_every_frame_equals_the_constant_one(tmp_path: Path, separable: Path) -> None:
    write_data(tmp_path, per_frame_pooling=True)
    assert torch.equal(loaded(tmp_path).features.nodes, loaded(separable).features.nodes)


def test_padding_is_not_valid(separable: Path) -> None:
    features = loaded(separable).features
    features.valid[:] = True
    batch = features.take(torch.tensor([[0, 1, -1], [5, -1, -1]]), torch.tensor([0, 1]))
    assert batch.valid.tolist() == [[True, True, False], [True, False, False]]
    assert torch.equal(batch.nodes[0, 1], features.nodes[1])
    assert torch.isfinite(batch.nodes).all()


def test_statistics_are_those_of_valid_training_frames(separable: Path) -> None:
    dataset = loaded(separable)
    rows = dataset.rows(np.array([0, 3, 4, 9]))
    found = statistics(dataset.features, torch.from_numpy(rows))
    seen = rows[dataset.features.valid[rows].numpy()]
    frames = dataset.features.nodes[seen].double().flatten(0, 1)
    mean, std = found.nodes
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, frames.std(0, correction=0), rtol=1e-5)


def test_constant_feature_has_no_deviation(separable: Path) -> None:
    features = loaded(separable).features
    features.embedding[..., 2] = 7.3
    assert statistics(features, torch.arange(len(features.valid))).embedding[1][2] == 0


def test_features_too_large_for_memory_lie_in_a_file(
    separable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = loaded(separable).features.tensors()
    monkeypatch.setattr(features_module, "MEMORY_SHARE", 0.0)
    for name, value in loaded(separable).features.tensors().items():
        assert torch.equal(value, in_memory[name])


def test_streamed_batches_equal_those_on_the_device(separable: Path) -> None:
    features = loaded(separable).features
    rows = list(torch.arange(24).view(6, 2, 2))
    labels = list(torch.zeros(6, 2, dtype=torch.int64))
    direct = batches(features, rows, labels, torch.device("cpu"))
    # any device that is not the features' own streams; this one only counts shapes
    streamed = batches(features, rows, labels, torch.device("meta"))
    for one, other in zip(direct, streamed, strict=True):
        assert other.nodes.shape == one.nodes.shape
        assert other.nodes.device.type == "meta"


def test_a_clip_has_as_many_rows_as_frames(tmp_path: Path) -> None:
    write_data(tmp_path, short=["s1-joy-1"])
    dataset = loaded(tmp_path)
    number = dataset.clip_ids.index("s1-joy-1")
    assert np.diff(dataset.first)[number] == FRAMES // 2
    assert set(np.delete(np.diff(dataset.first), number)) == {FRAMES}


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_clips(
    separable: Path, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loaded(separable)
    wide: list[str] = []
    read = ShardReader.read

    def watched(reader: ShardReader, clip: str, columns: list[str] | None = None) -> pa.Table:
        if columns is None:
            wide.append(clip)
        return read(reader, clip, columns)

    monkeypatch.setattr(ShardReader, "read", watched)
    seen = []
    for rank in range(world):
        wide.clear()
        part = share_of(separable, rank, world)
        mine = np.flatnonzero(part.partition.mine(np.arange(len(part.clip_ids))))
        # of other clips no feature is read
        assert set(wide) == {part.clip_ids[clip] for clip in mine}
        rows = whole.rows(mine)
        local_rows = part.partition.local_rows(rows)
        for name, value in part.features.tensors().items():
            assert len(value) == len(rows)
            assert torch.equal(value[local_rows], whole.features.tensors()[name][rows])
        for name in ("clip_ids", "frame_index", "valid", "first"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
        seen += mine.tolist()
    assert sorted(seen) == list(range(len(whole.clip_ids)))


def test_more_processes_than_clips(separable: Path) -> None:
    with pytest.raises(UserError, match=r"^\d+ usable clips cannot be shared by 999 processes$"):
        share_of(separable, 0, 999)


def test_no_usable_clip_is_a_user_error(separable: Path) -> None:
    with pytest.raises(UserError, match="no clip has features"):
        load_dataset(
            {LOST: 0},
            ShardReader(separable / "data/appearance"),
            ShardReader(separable / "data/graphs"),
        )
