"""Quality of a face's image: what blur, size, light and a turned head do to it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.demo.frame import RenderedFrame, render_still
from arpgnet.pipeline.geometry.alignment import similarity
from arpgnet.pipeline.geometry.quality import Quality, face_px, face_quality, face_window


@pytest.fixture(scope="module")
def still() -> RenderedFrame:
    return render_still(0, 3, frame_px=256)


def measured(still: RenderedFrame, image: np.ndarray, zoom: float = 1.0) -> Quality:
    matrix = similarity(still.keypoints * zoom)
    assert matrix is not None
    return face_quality(face_window(image, matrix), still.bbox * zoom, still.keypoints * zoom)


def test_blur_and_fewer_pixels_are_less_sharp(still: RenderedFrame) -> None:
    sharp = measured(still, still.image).sharpness
    blurred = [
        measured(still, cv2.GaussianBlur(still.image, (0, 0), sigma)).sharpness
        for sigma in (1.0, 3.0, 6.0)
    ]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert blurred[2] < 0.3 * sharp
    small = cv2.resize(still.image, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    assert measured(still, small, 0.2).sharpness < 0.7 * sharp


def test_sharpness_does_not_depend_on_contrast_nor_on_the_images_size(still: RenderedFrame) -> None:
    sharp = measured(still, still.image).sharpness
    pale = (still.image // 2 + 60).astype(np.uint8)
    assert measured(still, pale).sharpness == pytest.approx(sharp, rel=0.1)
    # the crop looks at about every second pixel of such an image
    large = cv2.resize(still.image, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_LINEAR)
    assert measured(still, large, 2.0).sharpness == pytest.approx(sharp, rel=0.3)


def test_exposure_counts_pixels_without_detail(still: RenderedFrame) -> None:
    assert measured(still, still.image).exposure > 0.9
    for dead in (0, 255):
        lost = measured(still, np.full_like(still.image, dead))
        assert (lost.exposure, lost.sharpness) == (0.0, 0.0)
        assert lost.score(0.0, 0.0) == 0.0


def test_the_score_is_the_worst_part() -> None:
    good = Quality(face_px=200.0, interocular_px=80.0, sharpness=1.3, exposure=1.0)
    assert good.score(0.0, 0.0) == 1.0
    assert good.score(60.0, 0.0) == pytest.approx(0.5)
    assert good.score(np.nan, np.nan) == 1.0
    assert Quality(30.0, 17.6, 1.3, 1.0).score(10.0, 0.0) == pytest.approx(0.5)
    assert Quality(200.0, 80.0, 0.3, 0.9).score(10.0, 0.0) == pytest.approx(0.3)


def test_the_size_is_the_shorter_side_in_pixels_of_the_video(still: RenderedFrame) -> None:
    matrix = similarity(still.keypoints)
    assert matrix is not None
    window = face_window(still.image, matrix)
    found = face_quality(window, still.bbox, still.keypoints, scale=2.0)
    assert found.face_px == pytest.approx(2 * float(face_px(still.bbox)))
    assert found.interocular_px == pytest.approx(
        2 * np.linalg.norm(still.keypoints[1] - still.keypoints[0]), rel=1e-5
    )
    boxes = np.array([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 45.0, 30.0]])
    np.testing.assert_array_equal(face_px(boxes), [10.0, 25.0])
