"""Detector targets: what insightface's SCRFD class decodes from them are the faces."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from insightface.model_zoo.scrfd import SCRFD

from tools.demo_pack.anchors import assign, centers
from tools.demo_pack.nets import STRIDES

FRAME = 256


class _Session:
    """Stands for ONNX Runtime: gives the targets of known faces back as network outputs."""

    def __init__(self, outputs: list[np.ndarray]) -> None:
        self.outputs = outputs

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="data", shape=[1, 3, "height", "width"])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=f"o{i}", shape=[1, 1]) for i in range(len(self.outputs))]

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self.outputs


def _detect(boxes: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    levels = assign(boxes, keypoints, FRAME, FRAME)
    scores = [(level.labels == 1).astype(np.float32)[:, None] for level in levels]
    outputs = [*scores, *(lv.boxes for lv in levels), *(lv.keypoints for lv in levels)]
    detector = SCRFD("absent.onnx", _Session(outputs), static_shape_sessions=False)
    return detector.detect(np.zeros((FRAME, FRAME, 3), np.uint8), input_size=(FRAME, FRAME))


@settings(deadline=None, max_examples=60)
@given(st.floats(0.1, 1.0), st.floats(0, 1), st.floats(0, 1), st.floats(0.7, 1.3))
def test_every_face_of_10_to_100_percent_is_decoded_exactly(
    part: float, along: float, down: float, aspect: float
) -> None:
    width, height = FRAME * part * np.sqrt(aspect), FRAME * part / np.sqrt(aspect)
    x, y = along * (FRAME - width), down * (FRAME - height)
    box = np.array([[x, y, x + width, y + height]])
    keypoints = np.random.default_rng(0).uniform(0, FRAME, (1, 5, 2))
    found, points = _detect(box, keypoints)
    assert len(found) == 1
    np.testing.assert_allclose(found[0, :4], box[0], atol=1e-3)
    np.testing.assert_allclose(points[0], keypoints[0], atol=1e-3)


def test_two_faces_of_different_sizes_are_both_decoded() -> None:
    boxes = np.array([[10.0, 10, 40, 45], [100, 60, 250, 240]])
    found, _ = _detect(boxes, np.zeros((2, 5, 2)))
    found = found[np.argsort(found[:, 0])]
    np.testing.assert_allclose(found[:, :4], boxes, atol=1e-3)


def test_an_image_without_a_face_is_all_background() -> None:
    levels = assign(np.zeros((0, 4)), np.zeros((0, 5, 2)), 96, 128)
    assert [len(level.labels) for level in levels] == [96 * 128 * 2 // s**2 for s in STRIDES]
    assert all((level.labels == 0).all() for level in levels)


@pytest.mark.parametrize("stride", STRIDES)
def test_centers_are_cell_corners_repeated_per_anchor(stride: int) -> None:
    points = centers(64, 96, stride)
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[2], [stride, 0])
    np.testing.assert_array_equal(points[-1], [96 - stride, 64 - stride])
