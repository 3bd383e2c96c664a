import numpy as np
import pyarrow as pa
import pytest
import torch

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.geometry.crop import map_cells
from arpgnet.pipeline.geometry.grid import grid_visible
from arpgnet.pipeline.geometry.landmark_regions import landmark_nodes, landmark_pooling
from arpgnet.pipeline.geometry.pose import rigid_points, rotation_of
from arpgnet.pipeline.graph.clip import GraphClip
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.shards import ShardReader, fixed, to_numpy
from helpers.faces_tables import HEIGHT, MATRIX, WIDTH, write_tables
from helpers.outputs import OutputWriter
from helpers.synthetic_face import face_points

ENGINE = EngineParams(workers=1)
VALID = {"a": [True, False, True], "bad": []}
POINTS = face_points("98")


def write_upstream(root, map_shape=(32, 7, 7), yaws=(0.0, 0.0, 0.0)):
    """frames, faces and landmarks of two clips; of appearance the index alone, without any map.

    In the image, the faces are turned by `yaws`.
    """
    clips = write_tables(root, VALID)
    schema = pa.schema(
        [
            ("clip_id", pa.string()),
            ("frame_index", pa.int32()),
            ("valid", pa.bool_()),
            ("points_crop", pa.list_(pa.float32(), 196)),
            ("points_image", pa.list_(pa.float32(), 196)),
        ]
    )
    with OutputWriter(root / "landmarks", schema, {"scheme": "98", "N": 98}) as writer:
        valid = np.array(VALID["a"])
        points = np.where(valid[:, None, None], POINTS, 0).astype(np.float32)
        turned = np.stack([turned_points(yaw) for yaw in yaws])
        columns = [["a"] * 3, np.array([0, 3, 6], np.int32), valid, fixed(points), fixed(turned)]
        writer.add("a", "1" * 64, [pa.table(columns, schema=schema)])
        writer.add_quarantined("bad", "", "cannot be decoded")
    metadata = {"map_shape": list(map_shape), "map_centers": [0.0, 112 / map_shape[2]]}
    with OutputWriter(root / "appearance", pa.schema([("clip_id", pa.string())]), metadata):
        pass
    return clips


def turned_points(yaw):
    """98 points in the image of the pose's own model, turned; the other points are 0."""
    indices, model = rigid_points("98")
    points = np.zeros((98, 2), np.float32)
    points[list(indices)] = (model @ rotation_of(yaw, 0.0, 0.0).T)[:, :2] * 0.5 + (160.0, 100.0)
    return points


def work(root, regions="grid", patches=7, neighborhood=4, max_yaw=None):
    folders = (root / name for name in ("frames", "faces", "landmarks", "appearance"))
    return GraphClip(*folders, regions, patches, neighborhood, max_yaw)


def test_grid_rows_and_metadata(tmp_path):
    clips = write_upstream(tmp_path)
    run_clips(work(tmp_path), clips, tmp_path / "out", ENGINE)
    out = ShardReader(tmp_path / "out")
    table = out.read("a")
    assert table.column_names == ["clip_id", "frame_index", "valid", "node_xy", "visible"]
    nodes = to_numpy(table.column("node_xy"), (49, 2))
    visible = to_numpy(table.column("visible"), (49,))
    np.testing.assert_allclose(nodes[0, [0, 6, 48]] * 14, [(1, 1), (13, 1), (13, 13)], rtol=1e-6)
    frame = np.array([[WIDTH, HEIGHT]])
    expected = grid_visible(7, POINTS[None], MATRIX[None], frame, "98")[0]
    np.testing.assert_array_equal(visible[[0, 2]], [expected, expected])
    assert 0 < expected.sum() < 49
    assert not nodes[1].any()
    assert not visible[1].any()
    metadata = out.metadata
    assert len(metadata["edges"]) == len(metadata["edge_types"]) == 210
    assert metadata["map_shape"] == [32, 7, 7]
    assert metadata["mirror"][:7] == [6, 5, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(metadata["pooling"], np.eye(49))
    assert out.entry("bad").reason == "cannot be decoded"


def test_stored_grid_pooling_pools_the_stored_map(tmp_path):
    clips = write_upstream(tmp_path, map_shape=(8, 14, 14))
    run_clips(work(tmp_path, patches=5), clips, tmp_path / "out", ENGINE)
    pooling = np.array(ShardReader(tmp_path / "out").metadata["pooling"])
    maps = torch.randn(1, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, 5).flatten(2).numpy()
    np.testing.assert_allclose(maps.flatten(2).numpy() @ pooling.T, expected, atol=1e-5)


def test_landmark_regions_have_pooling_in_every_row(tmp_path):
    clips = write_upstream(tmp_path)
    run_clips(work(tmp_path, "landmark"), clips, tmp_path / "out", ENGINE)
    out = ShardReader(tmp_path / "out")
    assert out.metadata["pooling"] is None
    assert len(out.metadata["names"]) == 20
    table = out.read("a")
    pooling = to_numpy(table.column("pooling"), (20, 49))
    cells = map_cells(7, 7, 0.0, 16.0)
    assert pooling.dtype == np.float16
    expected = landmark_pooling(POINTS[None], "98", cells)[0]
    np.testing.assert_allclose(pooling[0], expected, atol=1e-3)
    np.testing.assert_allclose(pooling[[0, 2]].astype(np.float64).sum(axis=2), 1.0, atol=2e-3)
    assert not pooling[1].any()
    nodes = to_numpy(table.column("node_xy"), (20, 2))
    np.testing.assert_allclose(nodes[2], landmark_nodes(POINTS[None], "98")[0], rtol=1e-5)


@pytest.mark.parametrize("regions", ["grid", "landmark"])
def test_equal_bytes_whether_computed_or_reused(tmp_path, regions):
    clips = write_upstream(tmp_path)
    assert run_clips(work(tmp_path, regions), clips, tmp_path / "one", ENGINE).done == 1
    assert run_clips(work(tmp_path, regions), clips, tmp_path / "two", ENGINE).reused == 1
    for name in ("index.parquet", "part-00000.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_keys_follow_what_the_rows_depend_on(tmp_path):
    clip = write_upstream(tmp_path)[0]
    base = work(tmp_path).key(clip)
    assert work(tmp_path, neighborhood=8).key(clip) == base
    assert work(tmp_path, patches=5).key(clip) != base
    assert work(tmp_path, max_yaw=30.0).key(clip) != base
    marks = work(tmp_path, "landmark").key(clip)
    assert marks != base
    assert work(tmp_path, "landmark", patches=5).key(clip) == marks
    (tmp_path / "fine").mkdir()
    write_upstream(tmp_path / "fine", map_shape=(32, 14, 14))
    assert work(tmp_path / "fine").key(clip) == base
    assert work(tmp_path / "fine", "landmark").key(clip) != marks


def test_faces_that_are_turned_too_far_are_masked(tmp_path):
    clips = write_upstream(tmp_path, yaws=(20.0, 0.0, -45.0))
    for max_yaw, valid in ((30.0, [True, False, False]), (60.0, [True, False, True])):
        run_clips(work(tmp_path, max_yaw=max_yaw), clips, tmp_path / "out", ENGINE)
        table = ShardReader(tmp_path / "out").read("a")
        assert table.column("valid").to_pylist() == valid
        visible = to_numpy(table.column("visible"), (49,))
        assert visible.any(axis=1).tolist() == valid
    with pytest.raises(
        ClipError, match=r"^every face is turned by more than graph.max_yaw \(10\)$"
    ):
        list(work(tmp_path, max_yaw=10.0).run(clips[0]))
