import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.geometry.crop import divided, face_hulls, inside_frame, inside_hull, upward
from helpers.synthetic_face import face_points


@given(seed=st.integers(0, 200), corners=st.integers(3, 30))
def test_inside_hull_equals_opencv_s_polygon_test(seed, corners):
    rng = np.random.default_rng(seed)
    hull = cv2.convexHull(rng.uniform(0, 100, (corners, 2)).astype(np.float32))[:, 0]
    samples = rng.uniform(-20, 120, (50, 2)).astype(np.float32)
    expected = [cv2.pointPolygonTest(hull, sample.tolist(), False) >= 0 for sample in samples]
    assert inside_hull(hull, samples).tolist() == expected


def test_nothing_lies_in_a_hull_without_area():
    assert not inside_hull(np.array([[5.0, 5.0], [9.0, 9.0]]), np.array([[5.0, 5.0]])).any()


def test_hull_reaches_over_the_forehead_and_no_further():
    points = face_points("106")
    hull = face_hulls(points[None], "106")[0]
    up = upward(points[None], "106")[0]
    assert up[1] < -50  # y runs down
    # brows at 42, chin at 112: the hairline of the canon lies 35 above the brows
    assert 0 < hull[:, 1].min() < 10
    assert inside_hull(hull, points).all()
    beside = np.array([[2.0, 8.0], [109.0, 8.0], [2.0, 110.0], [109.0, 110.0]])
    assert not inside_hull(hull, beside).any()


def test_inside_frame_is_the_warp_s_own_border():
    """A white frame warped onto black: white where the frame is, up to blended border pixels."""
    matrix = np.array([[0.5, 0.2, 20.0], [-0.2, 0.5, 45.0]])
    white = np.full((90, 130), 255, np.uint8)
    warped = cv2.warpAffine(white, matrix, (112, 112))
    x, y = np.meshgrid(np.arange(112.0), np.arange(112.0))
    samples = np.stack([x.ravel(), y.ravel()], axis=1)
    seen = inside_frame(matrix, samples, 130, 90).reshape(112, 112)
    assert 0.2 < seen.mean() < 0.8
    assert (warped[seen] > 64).all()
    assert (warped[~seen] < 192).all()


def test_divided_coordinates_flip_exactly():
    pixels = np.arange(112.0)
    np.testing.assert_allclose(divided(111 - pixels), 1 - divided(pixels), atol=1e-15)
