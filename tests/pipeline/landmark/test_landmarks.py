import pickle

import cv2
import numpy as np
import onnx
import pytest
from insightface.app.common import Face
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.landmark import Landmark

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.geometry.alignment import apply, context, square_matrix
from arpgnet.pipeline.landmark.clip import LandmarkClip
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from helpers import graphs
from helpers.faces_tables import BOX, MATRIX, make_image, stored_context, write_tables

MIDDLE = np.array([32.0, 32.0, 160.0, 160.0])
ENGINE = EngineParams(workers=1)
BOXES = np.array(
    [[80.0, 60.0, 180.0, 190.0], [-20.0, 10.5, 60.25, 90.0], [250.0, 100.0, 330.0, 260.0]]
)


def landmark_spec(folder, model=None, kind="2d106"):
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": (kind, model or graphs.landmark_2d106()),
        "embedding": ("arcface", graphs.arcface_iresnet()),
    }
    return load_pack(str(graphs.write_pack(folder, models))).models["landmark"]


def renamed(model, prefix="node"):
    """The same graph under node names that betray no normalization."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{prefix}{number}"
    return model


def one_row_only(model):
    """The same graph, flattening to a single row whatever the batch, as some published ones do."""
    rows = onnx.numpy_helper.from_array(np.array([1, -1], np.int64), "one_row")
    model.graph.initializer.append(rows)
    for node in model.graph.node:
        if node.op_type == "Flatten":
            node.op_type = "Reshape"
            node.ClearField("attribute")
            node.input.append("one_row")
    return model


def insightface_points(spec, frame, box):
    reference = Landmark(model_file=str(spec.path), session=make_session(spec.path))
    # in float64, as we do: float32 sums move InsightFace's square by 4e-6 pixels
    face = Face(bbox=box.astype(np.float64))
    return reference.get(np.ascontiguousarray(frame[..., ::-1]), face)


@pytest.mark.parametrize("change", [lambda m: m, renamed, one_row_only])
def test_106_points_are_insightface_s(tmp_path, change):
    spec = landmark_spec(tmp_path / "p", change(graphs.landmark_2d106()))
    frames = [make_image(seed) for seed in range(len(BOXES))]
    contexts = np.stack([context(*pair) for pair in zip(frames, BOXES, strict=True)])
    found = LandmarkNetwork(spec).locate(contexts, BOXES)
    assert found.shape == (3, 106, 2)
    for points, frame, box in zip(found, frames, BOXES, strict=True):
        np.testing.assert_allclose(points, insightface_points(spec, frame, box), atol=2e-3)


@pytest.mark.parametrize("change", [lambda m: m, renamed])
@pytest.mark.parametrize("role", ["landmark", "embedding"])
def test_normalization_is_what_insightface_reads_off_the_graph(tmp_path, role, change):
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": ("2d106", change(graphs.landmark_2d106())),
        "embedding": ("arcface", change(graphs.arcface_iresnet())),
    }
    spec = load_pack(str(graphs.write_pack(tmp_path / "p", models))).models[role]
    reference = {"landmark": Landmark, "embedding": ArcFaceONNX}[role](
        model_file=str(spec.path), session=make_session(spec.path)
    )
    found = normalization(spec)
    assert (found.mean, found.std) == ((reference.input_mean,) * 3, (reference.input_std,) * 3)


def test_98_points_come_from_the_tight_square_in_rgb_over_255(tmp_path):
    """A network that gives back its input's mean color and nothing else."""
    model = graphs.landmark_pfld98()
    spec = landmark_spec(tmp_path / "p", model, "pfld98")
    frame = np.zeros((240, 320, 3), np.uint8)
    box = np.array([[100.0, 50.0, 180.0, 150.0]])
    bias = next(w for w in model.graph.initializer if w.name == "output.b")
    rest = onnx.numpy_helper.to_array(bias).reshape(98, 2)
    # a black image leaves the bias: positions from 0 to 1 in the box's square, side 100 here
    found = LandmarkNetwork(spec).locate(context(frame, box[0])[None], box)[0]
    np.testing.assert_allclose(found, rest * 100 + (90, 50), atol=1e-3)


def test_a_network_of_another_scheme_is_refused(tmp_path):
    spec = landmark_spec(tmp_path / "p", graphs.landmark_2d106(), "68")
    with pytest.raises(UserError, match="gives 212 numbers per face, expected 136"):
        LandmarkNetwork(spec).locate(context(make_image(0), BOXES[0])[None], BOXES[:1])


def test_points_move_with_the_matrix():
    corners = np.array([[0, 0], [10, 0], [0, 20]], np.float32)
    expected = [[-60, -20], [-52, -21], [-58, -4]]
    np.testing.assert_allclose(apply(MATRIX, corners), expected, atol=1e-5)


def work(tmp_path, spec):
    return LandmarkClip(tmp_path / "faces", spec)


def test_stage_writes_points_in_image_and_crop(tmp_path):
    spec = landmark_spec(tmp_path / "p")
    clips = write_tables(tmp_path, {"a": [True, False, True], "bad": [], "b": [False, True]})
    summary = run_clips(work(tmp_path, spec), clips, tmp_path / "out", ENGINE)
    assert (summary.done, summary.quarantined) == (2, 1)
    out = ShardReader(tmp_path / "out")
    assert (out.metadata["scheme"], out.metadata["N"]) == ("106", 106)
    assert out.entry("bad").reason == "cannot be decoded"
    table = out.read("a")
    assert table.column("frame_index").to_pylist() == [0, 3, 6]
    assert table.column("valid").to_pylist() == [True, False, True]
    image = to_numpy(table.column("points_image"), (106, 2))
    in_crop = to_numpy(table.column("points_crop"), (106, 2))
    assert not image[1].any()
    assert not in_crop[1].any()
    for row in (0, 2):
        # the context as if it were the image: the box lies in its middle two thirds
        in_context = insightface_points(spec, stored_context(0, row), MIDDLE)
        expected = apply(cv2.invertAffineTransform(square_matrix(BOX, 192, 1.5)), in_context)
        np.testing.assert_allclose(image[row], expected, atol=2e-3)
        np.testing.assert_allclose(in_crop[row], apply(MATRIX, expected), atol=2e-3)


def test_stage_gives_equal_bytes_and_reuses_what_is_there(tmp_path):
    spec = landmark_spec(tmp_path / "p")
    clips = write_tables(tmp_path, {"a": [True] * 3, "b": [True]})
    assert run_clips(work(tmp_path, spec), clips, tmp_path / "one", ENGINE).done == 2
    assert run_clips(work(tmp_path, spec), clips, tmp_path / "two", ENGINE).reused == 2
    for name in ("index.parquet", "part-00000.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_network_is_another_key(tmp_path):
    clips = write_tables(tmp_path, {"a": [True]})
    first = work(tmp_path, landmark_spec(tmp_path / "p")).key(clips[0])
    other = work(tmp_path, landmark_spec(tmp_path / "q", graphs.landmark_2d106(seed=1)))
    assert first != other.key(clips[0])
    assert first == work(tmp_path, landmark_spec(tmp_path / "r")).key(clips[0])


def test_work_can_be_pickled_after_setup(tmp_path):
    clips = write_tables(tmp_path, {"a": [True]})
    first = work(tmp_path, landmark_spec(tmp_path / "p"))
    first.setup()
    copy = pickle.loads(pickle.dumps(first))
    copy.setup()
    assert list(copy.run(clips[0])) == list(first.run(clips[0]))


def test_numbers_that_are_not_finite_quarantine_the_clip(tmp_path):
    model = graphs.landmark_2d106()
    bias = next(w for w in model.graph.initializer if w.name == "fc1.b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(212, np.nan, np.float32), "fc1.b"))
    clips = write_tables(tmp_path, {"a": [True]})
    broken = work(tmp_path, landmark_spec(tmp_path / "p", model))
    broken.setup()
    with pytest.raises(ClipError, match="not finite"):
        list(broken.run(clips[0]))
