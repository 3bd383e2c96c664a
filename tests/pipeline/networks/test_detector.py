"""Detectors on graphs that find white squares, so that the right answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from insightface.model_zoo import get_model

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.detector import Detections, find_faces, make_detector
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from arpgnet.pipeline.store import file_sha256
from helpers import graphs

MAKERS = {"scrfd": graphs.small_pack, "yunet": graphs.small_open_pack}


@pytest.fixture(params=["scrfd", "yunet"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> ModelSpec:
    return load_pack(str(MAKERS[request.param](tmp_path / "p"))).models["detector"]


def scene(*cells: tuple[int, int], side: int = 32, width: int = 128, height: int = 128):
    """A black RGB image with white squares in cells (column, row) of `side` pixels."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for column, row in cells:
        image[row * side : (row + 1) * side, column * side : (column + 1) * side] = 255
    return image


def expected_kps(column: int, row: int, side: float = 32) -> np.ndarray:
    return (graphs.CELL_KPS + np.array([column, row])) * side


def find(spec: ModelSpec, image: np.ndarray, det_px: int | None = None) -> Detections:
    return make_detector(spec, det_px=det_px, thresh=0.5, device="cpu").detect(image)


def test_boxes_and_keypoints_are_in_image_pixels(spec: ModelSpec) -> None:
    found = find(spec, scene((1, 2), (3, 0)))
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], [[32, 64, 64, 96], [96, 0, 128, 32]], atol=1e-3)
    np.testing.assert_allclose(
        found.kps[order], [expected_kps(1, 2), expected_kps(3, 0)], atol=1e-3
    )
    assert (found.scores > 0.9).all()
    for array in (found.boxes, found.scores, found.kps):
        assert array.dtype == np.float32


def test_nothing_found_has_the_right_shapes(spec: ModelSpec) -> None:
    found = find(spec, scene())
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.kps.shape == (0, 5, 2)


@pytest.mark.parametrize(("width", "height"), [(256, 256), (256, 192), (192, 256)])
def test_a_larger_image_is_scaled_and_mapped_back(spec: ModelSpec, width: int, height: int) -> None:
    """The longer side becomes 128 px, so that a cell is 64 pixels of the image."""
    found = find(spec, scene((1, 2), side=64, width=width, height=height))
    np.testing.assert_allclose(found.boxes, [[64, 128, 128, 192]], atol=0.6)
    np.testing.assert_allclose(found.kps[0], expected_kps(1, 2, 64), atol=0.6)


def test_det_px_sets_the_scale(spec: ModelSpec) -> None:
    image = scene((1, 1), side=64, width=256, height=256)
    np.testing.assert_allclose(find(spec, image, 128).boxes, [[64, 64, 128, 128]], atol=1e-3)
    # at 256 px the same square covers four cells
    assert len(find(spec, image, 256)) == 4


def test_red_and_blue_are_not_exchanged(tmp_path: Path) -> None:
    """A YuNet that sees only its first channel must fire on blue; BGR is its order."""
    model = graphs.yunet()
    for weight in model.graph.initializer:
        if weight.name == "logit32.w":
            array = graphs.numpy_helper.to_array(weight).copy()
            array[:, 0] *= 3
            array[:, 1:] = 0
            weight.CopyFrom(graphs.numpy_helper.from_array(array, weight.name))
    path = tmp_path / "blue.onnx"
    path.write_bytes(model.SerializeToString())
    pack = load_pack(str(graphs.small_open_pack(tmp_path / "p")))
    spec = replace(pack.models["detector"], path=path, sha256=file_sha256(path))
    blue = scene((1, 1)) * np.array([0, 0, 1], dtype=np.uint8)
    assert len(find(spec, blue)) == 1
    assert len(find(spec, np.ascontiguousarray(blue[:, :, ::-1]))) == 0


def test_scrfd_is_what_insightface_itself_finds(tmp_path: Path) -> None:
    spec = load_pack(str(graphs.small_pack(tmp_path / "p"))).models["detector"]
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    image[40:80, 20:60] = 250
    theirs = get_model(str(spec.path), providers=["CPUExecutionProvider"])
    rows, kps = theirs.detect(image[:, :, ::-1], input_size=(128, 128), det_thresh=0.5)
    found = find(spec, image)
    assert len(found) > 0
    np.testing.assert_allclose(found.boxes, rows[:, :4], atol=1e-4)
    np.testing.assert_allclose(found.scores, rows[:, 4], atol=1e-6)
    np.testing.assert_allclose(found.kps, kps, atol=1e-4)


def fixed_detector(folder: Path, kind: str, model: graphs.onnx.ModelProto) -> ModelSpec:
    models = {
        "detector": (kind, model),
        "landmark": ("2d106", graphs.landmark_2d106()),
        "embedding": ("arcface", graphs.arcface_iresnet()),
    }
    return load_pack(str(graphs.write_pack(folder, models))).models["detector"]


def test_a_graph_of_fixed_size_says_so(tmp_path: Path) -> None:
    spec = fixed_detector(tmp_path / "p", "yunet", graphs.yunet(px=128))
    assert len(find(spec, scene((2, 1)))) == 1
    with pytest.raises(UserError, match=r"align\.det_px: 256: .* takes 128x128 pixels only"):
        find(spec, scene(), 256)


def test_an_scrfd_of_fixed_size_gets_dynamic_shapes(tmp_path: Path) -> None:
    """Its own side is the one it is used at; others can be asked for, and parts be looked at."""
    spec = fixed_detector(tmp_path / "p", "scrfd", graphs.scrfd(px=128))
    image = scene((1, 1), side=64, width=256, height=256)
    np.testing.assert_allclose(find(spec, image).boxes, [[64, 64, 128, 128]], atol=0.1)
    assert len(find(spec, image, 256)) == 4
    detector = make_detector(spec, det_px=None, thresh=0.5, device="cpu")
    part = detector.look(scene((1, 0), width=96, height=64))
    np.testing.assert_allclose(part.boxes, [[32, 0, 64, 32]], atol=1e-3)


def test_a_graph_that_is_no_yunet_is_refused(tmp_path: Path) -> None:
    scrfd = load_pack(str(graphs.small_pack(tmp_path / "p"))).models["detector"]
    with pytest.raises(UserError, match="is not a YuNet: it has no output bbox_16"):
        make_detector(replace(scrfd, kind="yunet"), det_px=None, thresh=0.5, device="cpu")


class ShyDetector:
    """Finds white pixels as one face, unless they touch the image's edge."""

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self.calls = 0

    def detect(self, image: np.ndarray) -> Detections:
        self.calls += 1
        ys, xs = np.nonzero(image[:, :, 0])
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], dtype=np.float32)
        share = (box[0, 2] - box[0, 0]) / image.shape[1]
        if share > self.largest:
            box = box[:0]
        kps = np.stack([box[:, :2]] * 5, axis=1)
        return Detections(box, np.ones(len(box), dtype=np.float32), kps)


@pytest.mark.parametrize(("largest", "calls"), [(1.0, 1), (0.6, 2), (0.35, 3)])
def test_a_face_that_fills_the_frame_is_found_behind_a_border(largest: float, calls: int) -> None:
    """Borders of half a side twice over: the face takes a half, then a third of the image."""
    detector = ShyDetector(largest)
    found = find_faces(detector, np.full((100, 100, 3), 255, dtype=np.uint8), 0.5)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 100, 100]])
    np.testing.assert_array_equal(found.kps, np.zeros((1, 5, 2)))
    assert detector.calls == calls


def test_without_a_border_one_look_is_all() -> None:
    detector = ShyDetector(0.5)
    assert len(find_faces(detector, np.full((100, 100, 3), 255, dtype=np.uint8), 0.0)) == 0
    assert detector.calls == 1
