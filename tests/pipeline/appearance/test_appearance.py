import pickle

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

from arpgnet.pipeline.appearance.clip import AppearanceClip
from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE
from arpgnet.pipeline.geometry.parts import assemble_parts
from arpgnet.pipeline.networks.appearance import AppearanceNetwork, layout, to_half
from arpgnet.pipeline.networks.backbones import load_backbone
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from helpers import graphs, vit_packs
from helpers.faces_tables import crop, write_tables

ENGINE = EngineParams(workers=1)
CROPS = np.stack([crop(0, row) for row in range(5)])


def embedding_spec(folder, model, **fields):
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": ("2d106", graphs.landmark_2d106()),
        "embedding": ("arcface", model),
    }
    fields = {f"embedding__{key}": value for key, value in fields.items()}
    return load_pack(str(graphs.write_pack(folder, models, **fields))).models["embedding"]


def weights(model):
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def test_embeddings_are_insightface_s(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    reference = ArcFaceONNX(model_file=str(spec.path), session=make_session(spec.path))
    expected = reference.get_feat([np.ascontiguousarray(c[..., ::-1]) for c in CROPS])
    found, _ = AppearanceNetwork(spec, batch=2).describe(CROPS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_map_is_what_the_embedding_is_made_from(tmp_path):
    model = graphs.arcface_iresnet()
    spec = embedding_spec(tmp_path / "p", model)
    embeddings, maps = AppearanceNetwork(spec, batch=16).describe(CROPS)
    assert maps.shape == (5, 32, 7, 7)
    w = weights(model)
    linear = maps.reshape(5, -1) @ w["fc.w"].T + w["fc.b"]
    scale = w["683.gamma"] / np.sqrt(w["683.var"] + 1e-5)
    expected = (linear - w["683.mean"]) * scale + w["683.beta"]
    np.testing.assert_allclose(embeddings, expected, rtol=1e-3, atol=1e-4)


def test_batches_give_what_single_crops_give(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    single = AppearanceNetwork(spec, batch=1).describe(CROPS)
    batched = AppearanceNetwork(spec, batch=4).describe(CROPS)
    for one, many in zip(single, batched, strict=True):
        np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)


def test_a_graph_fixed_at_one_crop_is_fed_one_by_one(tmp_path):
    free = embedding_spec(tmp_path / "p", graphs.arcface_mobilefacenet())
    fixed = embedding_spec(tmp_path / "q", graphs.arcface_mobilefacenet(batch=1))
    expected = AppearanceNetwork(free, batch=8).describe(CROPS)
    found = AppearanceNetwork(fixed, batch=8).describe(CROPS)
    for one, many in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [graphs.arcface_iresnet(), graphs.arcface_mobilefacenet(batch=1)])
def test_bfloat16_gives_nearly_the_same_in_batches(tmp_path, model):
    spec = embedding_spec(tmp_path / "p", model)
    exact = AppearanceNetwork(spec, batch=1).describe(CROPS)
    rounded = AppearanceNetwork(spec, batch=3, precision="bf16").describe(CROPS)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == np.float32
        flat, near = one.reshape(5, -1), other.reshape(5, -1)
        cosine = (flat * near).sum(1) / np.linalg.norm(flat, axis=1) / np.linalg.norm(near, axis=1)
        assert cosine.min() > 0.999
        # it was run in bfloat16 indeed
        assert np.abs(flat - near).max() > 1e-5


def test_a_graph_torch_cannot_import_stays_in_onnx_runtime(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.with_softsign(graphs.arcface_iresnet()))
    exact = AppearanceNetwork(spec, batch=2).describe(CROPS)
    asked = AppearanceNetwork(spec, batch=2, precision="bf16").describe(CROPS)
    for one, other in zip(exact, asked, strict=True):
        np.testing.assert_array_equal(one, other)


def test_precision_is_part_of_the_key(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    clips = write_tables(tmp_path, {"a": [True]})
    keys = {
        AppearanceClip(tmp_path / "faces", spec, "p", 2, "cpu", precision).key(clips[0])
        for precision in ("fp32", "bf16", "fp32")
    }
    assert len(keys) == 2


def test_the_pack_s_colors_mean_and_std_are_used(tmp_path):
    """The pack's numbers, applied by hand, in a graph that begins with a known convolution."""
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    model = graphs.arcface_mobilefacenet()
    spec = embedding_spec(tmp_path / "p", model, color="bgr", mean=mean, std=std)
    _, maps = AppearanceNetwork(spec, batch=4).describe(CROPS)
    w = weights(model)
    patches = ((CROPS[..., ::-1] - mean) / std).reshape(5, 7, 16, 7, 16, 3)
    linear = np.einsum("brycxk,okyx->borc", patches, w["conv.w"])
    expected = np.where(linear > 0, linear, 0.25 * linear)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "tensor"),
    [(graphs.arcface_iresnet(), "bn2"), (graphs.arcface_mobilefacenet(), "features")],
)
def test_layout_is_read_off_the_graph_where_the_pack_is_silent(tmp_path, model, tensor):
    found = layout(embedding_spec(tmp_path / "p", model))
    assert (found.map_tensor, found.map_shape, found.embedding_dim) == (tensor, (32, 7, 7), 512)


def test_a_pack_that_lies_about_shapes_is_refused(tmp_path):
    spec = embedding_spec(
        tmp_path / "p",
        graphs.arcface_iresnet(),
        map_tensor="bn2",
        map_shape=[64, 7, 7],
        embedding_dim=512,
    )
    with pytest.raises(UserError, match=r"\[512, 32, 7, 7\], pack.yaml says \[512, 64, 7, 7\]"):
        AppearanceNetwork(spec, batch=1).describe(CROPS)


def test_a_network_for_other_crops_is_refused(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet(), input_px=128)
    with pytest.raises(UserError, match=r"takes 112 pixels, pack\.yaml says input_px: 128"):
        layout(spec)


def test_a_transformer_sees_crops_of_its_own_size(tmp_path):
    spec = load_pack(str(vit_packs.vit_pack(tmp_path / "p"))).models["embedding"]
    (clip,) = write_tables(tmp_path, {"a": [True, False, True]}, side=224)
    work = AppearanceClip(tmp_path / "faces", spec, "p", batch=2)
    work.setup()
    assert work.metadata()["map_shape"] == [192, 14, 14]
    # patches of 16 pixels of 224: half as many of 112, where landmarks are counted
    assert work.metadata()["map_centers"] == [3.5, 8.0]
    crops = np.stack([crop(0, row, 224) for row in (0, 2)])
    fed = (crops.astype(np.float32) - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    network = load_backbone("vit_tiny_patch16_224", spec.path)
    with torch.inference_mode():
        expected = network(torch.from_numpy(fed.transpose(0, 3, 1, 2)).float())
    table = pa.concat_tables(work.run(clip))
    embedding = to_numpy(table.column("embedding"), (192,))
    maps = to_numpy(table.column("map"), (192, 14, 14))
    for found, wanted in zip((embedding, maps), expected, strict=True):
        np.testing.assert_allclose(found[[0, 2]], wanted.numpy(), atol=5e-3)
        assert not found[1].any()


def test_crops_of_another_size_are_refused(tmp_path):
    spec = load_pack(str(vit_packs.vit_pack(tmp_path / "p"))).models["embedding"]
    write_tables(tmp_path, {"a": [True]})
    work = AppearanceClip(tmp_path / "faces", spec, "p", batch=2)
    message = "has crops of 112 pixels, net.safetensors takes 224: run `dvc repro align`"
    with pytest.raises(UserError, match=message):
        work.setup()


def test_stage_writes_half_precision_and_zeros_where_no_face_is(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    clips = write_tables(tmp_path, {"a": [True, False, True], "bad": []})
    work = AppearanceClip(tmp_path / "faces", spec, "p", batch=2)
    assert run_clips(work, clips, tmp_path / "out", ENGINE).quarantined == 1
    out = ShardReader(tmp_path / "out")
    metadata = out.metadata
    assert (metadata["embedding_dim"], metadata["map_shape"], metadata["pack"]) == (
        512,
        [32, 7, 7],
        "p",
    )
    assert metadata["map_centers"] == [7.5, 16.0]
    assert metadata["model_sha256"] == spec.sha256
    table = out.read("a")
    embeddings = to_numpy(table.column("embedding"), (512,))
    maps = to_numpy(table.column("map"), (32, 7, 7))
    assert embeddings.dtype == maps.dtype == np.float16
    assert not embeddings[1].any()
    assert not maps[1].any()
    expected = AppearanceNetwork(spec, batch=2).describe(np.stack([crop(0, 0), crop(0, 2)]))
    np.testing.assert_array_equal(embeddings[[0, 2]], expected[0].astype(np.float16))
    np.testing.assert_array_equal(maps[[0, 2]], expected[1].astype(np.float16))


def test_work_can_be_pickled_after_setup(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    clips = write_tables(tmp_path, {"a": [True]})
    work = AppearanceClip(tmp_path / "faces", spec, "p", batch=2)
    work.setup()
    copy = pickle.loads(pickle.dumps(work))
    copy.setup()
    assert list(copy.run(clips[0])) == list(work.run(clips[0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, -1e6])
def test_values_float16_cannot_hold_quarantine_the_clip(value):
    values = np.zeros((2, 3), np.float32)
    values[1, 1] = value
    with pytest.raises(ClipError, match="more than float16 can hold"):
        to_half(values)


def test_the_largest_half_is_kept():
    assert to_half(np.array([-65504.0, 0.0, 65504.0], np.float32)).tolist() == [-65504, 0, 65504]


def test_a_second_view_is_described_in_columns_of_its_own(tmp_path):
    spec = embedding_spec(tmp_path / "p", graphs.arcface_iresnet())
    clips = write_tables(tmp_path, {"a": [True, False, True]})
    tables, keys = {}, {}
    for name, views in (("one", ("face",)), ("two", ("face", "parts"))):
        work = AppearanceClip(tmp_path / "faces", spec, "p", 2, views=views)
        keys[name] = work.key(clips[0])
        run_clips(work, clips, tmp_path / name, ENGINE)
        tables[name] = ShardReader(tmp_path / name)
    assert keys["one"] != keys["two"]
    assert keys["one"] == AppearanceClip(tmp_path / "faces", spec, "p", 2).key(clips[0])
    assert "views" not in tables["one"].metadata
    assert tables["two"].metadata["views"] == ["face", "parts"]
    one, two = (tables[name].read("a") for name in ("one", "two"))
    extra = [name for name in two.column_names if name not in one.column_names]
    assert extra == ["parts_embedding", "parts_map"]
    assert two.select(one.column_names) == one
    crops = np.stack([crop(0, 0), crop(0, 2)])
    seen = assemble_parts(crops, np.stack([ARCFACE_TEMPLATE] * 2))
    embeddings, maps = AppearanceNetwork(spec, batch=2).describe(seen)
    found = to_numpy(two["parts_embedding"], (embeddings.shape[1],))
    # the key points are the template's again, to a hundredth of a pixel
    np.testing.assert_allclose(found[[0, 2]], embeddings, rtol=2e-2, atol=2e-2)
    assert not found[1].any()
    found = to_numpy(two["parts_map"], maps.shape[1:])
    np.testing.assert_allclose(found[[0, 2]], maps, rtol=2e-2, atol=2e-2)
    assert not np.allclose(found[0], to_numpy(two["map"], maps.shape[1:])[0], atol=0.1)
