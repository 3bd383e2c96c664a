"""Following a bright square: what is looked at, how often, and what makes it look at everything."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.networks.detector import GRID_PX, Detections, make_detector
from arpgnet.pipeline.networks.follower import Follower
from arpgnet.pipeline.networks.packs import load_pack
from helpers import graphs

SIDE = 40


class Squares:
    """Finds white squares of any size on black; remembers the images it was shown."""

    def __init__(self, px: int = 640, any_sides: bool = True) -> None:
        self.any_sides = any_sides
        self.px = px
        self.whole = 0
        self.parts: list[tuple[int, int]] = []

    def detect(self, image: np.ndarray) -> Detections:
        self.whole += 1
        return self._find(image)

    def look(self, part: np.ndarray) -> Detections:
        self.parts.append(part.shape[:2])
        return self._find(part)

    def scale(self, image: np.ndarray) -> float:
        return self.px / max(image.shape[:2])

    def _find(self, image: np.ndarray) -> Detections:
        white = (image[..., 0] > 127).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(white)
        x, y, w, h = (stats[1:count, k].astype(np.float32) for k in range(4))
        boxes = np.stack([x, y, x + w, y + h], axis=1)
        return Detections(
            boxes, np.ones(len(boxes), np.float32), np.repeat(boxes[:, None, :2], 5, axis=1)
        )


def scene(*corners: tuple[int, int], side: int = SIDE, width: int = 640, height: int = 480):
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in corners:
        image[y : y + side, x : x + side] = 255
    return image


def corners(found: Detections) -> list[tuple[int, int]]:
    return sorted((round(float(x)), round(float(y))) for x, y, _, _ in found.boxes)


def follow(
    detector: Squares,
    images: list[np.ndarray],
    *,
    full_every: int = 1000,
    max_interpolation_s: float = 0.0,
    first_scale: float = 1.0,
    fps: float = 25.0,
) -> list[Detections]:
    """The faces of the images, one frame after the other."""
    follower = Follower(detector, 0.0, full_every, max_interpolation_s, first_scale)
    pairs = list(follower.follow((n / fps, image) for n, image in enumerate(images)))
    assert all(one is other for (one, _), other in zip(pairs, images, strict=True))
    return [found for _, found in pairs]


def test_after_the_first_look_only_the_surroundings_are_looked_at() -> None:
    detector = Squares()
    way = [(200 + 2 * n, 100 + n) for n in range(30)]
    found = follow(detector, [scene(corner) for corner in way])
    assert [corners(faces) for faces in found] == [[corner] for corner in way]
    assert detector.whole == 1
    assert len(detector.parts) == 29
    for height, width in detector.parts:
        assert height % GRID_PX == width % GRID_PX == 0
        assert height * width < 640 * 480 / 10


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_finds_what_a_full_look_finds(data: st.DataObject) -> None:
    """Whatever the way: slow, fast, jumping, leaving the image, coming back."""
    x, y, images = 300, 200, []
    for _ in range(data.draw(st.integers(2, 12))):
        x = int(np.clip(x + data.draw(st.integers(-90, 90)), -SIDE, 640))
        y = int(np.clip(y + data.draw(st.integers(-60, 60)), -SIDE, 480))
        image = np.zeros((480, 640, 3), np.uint8)
        image[max(y, 0) : max(y + SIDE, 0), max(x, 0) : max(x + SIDE, 0)] = 255
        images.append(image)
    for found, image in zip(follow(Squares(), images, full_every=5), images, strict=True):
        np.testing.assert_array_equal(found.boxes, Squares().detect(image).boxes)


def test_a_quick_move_is_found_in_wider_surroundings() -> None:
    detector = Squares()
    found = follow(detector, [scene((106, 100)), scene((123, 100))])
    assert corners(found[1]) == [(123, 100)]
    assert (detector.whole, len(detector.parts)) == (1, 2)


def test_a_miss_and_a_jump_make_it_look_at_everything() -> None:
    detector = Squares()
    way = [(100, 100), (130, 100), (500, 300)]  # by 3/4 of a side, and out of sight
    found = follow(detector, [*(scene(corner) for corner in way), scene(), scene((20, 20))])
    assert [corners(faces) for faces in found] == [*([corner] for corner in way), [], [(20, 20)]]
    assert detector.whole == 5


def test_a_new_face_is_found_at_the_next_full_look() -> None:
    detector = Squares()
    both = [(100, 100), (400, 300)]
    found = follow(detector, [scene(both[0]), *[scene(*both)] * 5], full_every=4)
    assert [len(faces) for faces in found] == [1, 1, 1, 1, 2, 2]
    assert detector.whole == 2


def test_several_faces_have_a_part_each_as_long_as_that_pays() -> None:
    few = [(50, 50), (300, 200), (500, 400)]
    detector = Squares()
    assert [corners(faces) for faces in follow(detector, [scene(*few)] * 3)] == [few] * 3
    assert (detector.whole, len(detector.parts)) == (1, 6)
    many = [(x, y) for x in range(10, 600, 100) for y in range(10, 440, 100)]
    detector = Squares()
    assert [corners(faces) for faces in follow(detector, [scene(*many)] * 3)] == [many] * 3
    assert (detector.whole, detector.parts) == (3, [])


def test_a_large_face_is_shrunk_for_the_small_look() -> None:
    detector = Squares()
    found = follow(detector, [scene((150 + n, 80), side=300) for n in range(5)])
    for n, faces in enumerate(found):
        np.testing.assert_allclose(faces.boxes, [[150 + n, 80, 450 + n, 380]], atol=3)
    assert detector.whole == 1
    assert max(height * width for height, width in detector.parts) <= 224**2


def test_images_of_another_shape_and_fixed_graphs_are_looked_at_as_a_whole() -> None:
    detector = Squares()
    follow(detector, [scene((100, 100)), scene((100, 100), width=320, height=240)])
    assert detector.whole == 2
    fixed = Squares(any_sides=False)
    follow(fixed, [scene((100, 100))] * 3)
    assert (fixed.whole, fixed.parts) == (3, [])


def test_full_every_one_always_looks_at_everything() -> None:
    detector = Squares()
    follow(detector, [scene((100, 100))] * 3, full_every=1)
    assert (detector.whole, detector.parts) == (3, [])


def test_a_face_that_keeps_still_is_not_looked_for_in_between() -> None:
    """25 frames a second: every third is looked at, the others lie on a straight line."""
    detector = Squares()
    images = [scene((200 + n // 6, 100)) for n in range(13)]
    found = follow(detector, images, max_interpolation_s=0.13)
    assert (detector.whole, len(detector.parts)) == (1, 4)
    for n, faces in enumerate(found):
        assert abs(float(faces.boxes[0, 0]) - (200 + n // 6)) <= 1
        assert faces.boxes.dtype == faces.kps.dtype == faces.scores.dtype == np.float32


def test_a_face_that_moves_is_looked_for_in_every_frame_by_halves() -> None:
    detector = Squares()
    way = [(200 + 4 * n, 100) for n in range(13)]  # a tenth of a side a frame
    found = follow(detector, [scene(corner) for corner in way], max_interpolation_s=0.13)
    assert [corners(faces) for faces in found] == [[corner] for corner in way]
    assert detector.whole == 1


def test_the_first_look_is_small_and_what_it_finds_is_looked_at_again() -> None:
    detector = Squares()
    way = [(201 + n, 101) for n in range(4)]
    found = follow(detector, [scene(corner) for corner in way], first_scale=0.5)
    assert [corners(faces) for faces in found] == [[corner] for corner in way]
    assert detector.whole == 0
    assert detector.parts[0] == (256, 320)
    assert max(height * width for height, width in detector.parts[1:]) < 128**2


def test_where_the_first_look_finds_nothing_the_whole_image_is_looked_at() -> None:
    detector = Squares()
    dot = scene((201, 101), side=1)  # a fourth of white at half the scale: below the threshold
    found = follow(detector, [dot, dot], first_scale=0.5)
    assert [corners(faces) for faces in found] == [[(201, 101)]] * 2
    assert detector.whole == 1


def test_sparse_frames_are_all_looked_at_however_still_the_face() -> None:
    detector = Squares()
    follow(detector, [scene((200, 100))] * 10, max_interpolation_s=0.13, fps=5.0)
    assert (detector.whole, len(detector.parts)) == (1, 9)


@pytest.mark.parametrize("maker", [graphs.small_pack, graphs.small_open_pack])
@pytest.mark.parametrize("scale", [1, 2])
def test_real_detectors_give_the_same_near_as_in_the_whole(
    tmp_path: Path, maker: type, scale: int
) -> None:
    """Cells of 32 of the detector's pixels: a part on another grid would not see the square."""
    spec = load_pack(str(maker(tmp_path / "p"))).models["detector"]
    detector = make_detector(spec, det_px=640, thresh=0.5, device="cpu")
    side = 32 * scale
    image = scene((5 * side, 3 * side), side=side, width=20 * side, height=15 * side)
    first, second = follow(detector, [image, image])
    assert len(first) == 1
    np.testing.assert_allclose(second.boxes, first.boxes, atol=0.5)
    np.testing.assert_allclose(second.kps, first.kps, atol=0.5)
