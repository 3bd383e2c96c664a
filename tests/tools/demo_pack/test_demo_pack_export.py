"""Exports of random networks load through insightface and agree with torch."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from insightface.app.common import Face
from insightface.model_zoo import get_model
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.landmark import Landmark
from insightface.model_zoo.scrfd import SCRFD

from tools.demo_pack import export, geometry
from tools.demo_pack.nets import DemoDetector, DemoEmbedding, DemoLandmarks, ScrfdForm

PROVIDERS = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (320, 240))


def _randomized(net: torch.nn.Module) -> torch.nn.Module:
    """Batch norms that do something: their folding is part of what is tested."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    return net.eval()


def test_detector_is_routed_to_scrfd_and_takes_any_multiple_of_32(
    tmp_path: Path, image: np.ndarray
) -> None:
    net, path = _randomized(DemoDetector()), tmp_path / "det.onnx"
    export.export_detector(net, path)
    model = get_model(str(path), providers=PROVIDERS)
    assert isinstance(model, SCRFD)
    assert model.use_kps
    for size in ((160, 160), (320, 96)):
        boxes, keypoints = model.detect(image, input_size=size, det_thresh=0.0, max_num=3)
        assert boxes.shape == (3, 5)
        assert keypoints.shape == (3, 5, 2)
        torch_image = torch.rand(1, 3, size[1], size[0])
        export.check_parity(ScrfdForm(net), path, torch_image)


def test_landmark_class_decodes_the_networks_points(tmp_path: Path, image: np.ndarray) -> None:
    net, path = _randomized(DemoLandmarks()), tmp_path / "lmk.onnx"
    export.export_landmarks(net, path)
    model = get_model(str(path), providers=PROVIDERS)
    assert isinstance(model, Landmark)
    assert model.taskname == "landmark_2d_106"
    assert (model.input_mean, model.input_std) == (127.5, 128.0)

    box = np.array([60.0, 50, 180, 200])
    points = model.get(image, Face(bbox=box))

    matrix = geometry.landmark_crop(box)
    crop = cv2.warpAffine(image, matrix, (192, 192))[..., ::-1].astype(np.float32)
    x = torch.from_numpy((crop - 127.5) / 128).permute(2, 0, 1)[None]
    with torch.no_grad():
        unit = net(x)[0].reshape(106, 2).numpy()
    np.testing.assert_allclose(
        geometry.apply(matrix, points), (unit + 1) * 96, atol=2e-2, rtol=1e-3
    )


def test_embedding_is_routed_to_arcface_in_batches(tmp_path: Path, image: np.ndarray) -> None:
    net, path = _randomized(DemoEmbedding()), tmp_path / "arc.onnx"
    export.export_embedding(net, path)
    model = get_model(str(path), providers=PROVIDERS)
    assert isinstance(model, ArcFaceONNX)
    assert (model.input_mean, model.input_std) == (127.5, 127.5)

    crops = [image[:112, :112], image[50:162, 30:142]]
    rgb = np.stack([crop[..., ::-1] for crop in crops]).astype(np.float32)
    with torch.no_grad():
        expected, _ = net(torch.from_numpy((rgb - 127.5) / 127.5).permute(0, 3, 1, 2))
    np.testing.assert_allclose(model.get_feat(crops), expected.numpy(), atol=1e-4)


def test_the_map_can_be_read_from_inside_the_embedding(tmp_path: Path) -> None:
    net, path = _randomized(DemoEmbedding()), tmp_path / "arc.onnx"
    export.export_embedding(net, path)
    assert [output.name for output in onnx.load(str(path)).graph.output] == ["embedding"]
    export.check_parity(
        net, export.with_output(path, export.MAP_TENSOR), torch.rand(3, 3, 112, 112)
    )


def test_exports_repeat_byte_for_byte(tmp_path: Path) -> None:
    net = _randomized(DemoEmbedding())
    export.export_embedding(net, tmp_path / "one.onnx")
    export.export_embedding(net, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_a_file_of_other_weights_fails_the_parity_check(tmp_path: Path) -> None:
    export.export_landmarks(_randomized(DemoLandmarks()), tmp_path / "lmk.onnx")
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="DemoLandmarks"):
        export.check_parity(
            _randomized(DemoLandmarks()), tmp_path / "lmk.onnx", torch.rand(1, 3, 192, 192)
        )
