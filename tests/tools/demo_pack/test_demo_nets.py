"""The demo pack's networks: shapes, size limits, and the order of SCRFD's rows."""

import pytest
import torch

from tools.demo_pack.nets import (
    ANCHORS_PER_CELL,
    STRIDES,
    DemoDetector,
    DemoEmbedding,
    DemoLandmarks,
    DetectorHead,
    ScrfdForm,
)


@pytest.mark.parametrize(("height", "width"), [(160, 160), (96, 320)])
def test_detector_answers_for_every_anchor_of_every_stride(height: int, width: int) -> None:
    outputs = ScrfdForm(DemoDetector().eval())(torch.zeros(1, 3, height, width))
    rows = [height // stride * (width // stride) * ANCHORS_PER_CELL for stride in STRIDES]
    expected = [(count, columns) for columns in (1, 4, 10) for count in rows]
    assert [tuple(output.shape) for output in outputs] == expected
    assert all((score >= 0).all() and (score <= 1).all() for score in outputs[:3])


def test_head_rows_run_along_the_image_with_a_cells_anchors_adjacent() -> None:
    head = DetectorHead(8).eval()
    x = torch.randn(2, 8, 3, 5)
    boxes = head.boxes(head.locate(x))
    rows = head(x).boxes
    for row, column, anchor in ((0, 0, 0), (0, 0, 1), (1, 4, 0), (2, 3, 1)):
        index = (row * 5 + column) * ANCHORS_PER_CELL + anchor
        torch.testing.assert_close(
            rows[:, index], boxes[:, 4 * anchor : 4 * anchor + 4, row, column]
        )


def test_landmarks_and_embedding_shapes() -> None:
    assert DemoLandmarks(points=106).eval()(torch.zeros(2, 3, 192, 192)).shape == (2, 212)
    embedding, feature_map = DemoEmbedding(dim=128, channels=96).eval()(torch.zeros(2, 3, 112, 112))
    assert embedding.shape == (2, 128)
    assert feature_map.shape == (2, 96, 7, 7)


def test_embedding_reads_where_in_the_map_a_feature_is() -> None:
    net = DemoEmbedding().eval()
    feature_map = torch.rand(1, 96, 7, 7)
    mirrored = feature_map.flip(3)
    assert not torch.allclose(net.pool(feature_map), net.pool(mirrored), atol=1e-3)


def test_the_three_networks_fit_a_repository() -> None:
    nets = (DemoDetector(), DemoLandmarks(), DemoEmbedding())
    weights = sum(parameter.numel() for net in nets for parameter in net.parameters())
    assert weights * 4 < 8_000_000
