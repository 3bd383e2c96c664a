"""Identities, with networks that know people by their color."""

import numpy as np
import pytest

from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE
from arpgnet.pipeline.networks.detector import Detections
from arpgnet.pipeline.predict.faces import WAITING, Face, Identities

SIDE = 40
COLORS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)


def describe(crops: np.ndarray) -> np.ndarray:
    """The mean color: unlike people's are orthogonal."""
    return crops.reshape(len(crops), -1, 3).astype(np.float64).mean(axis=1)


class Stage:
    """People as colored squares, found wherever they are."""

    def __init__(self) -> None:
        self.identities = Identities(describe, min_iou=0.3)
        self.rows: list[dict[int, Face]] = []

    def show(self, places: dict[int, float], colors: dict[int, np.ndarray] | None = None) -> None:
        """A frame with people (by their color's number) at x; another color where given."""
        image = np.zeros((SIDE, 800, 3), np.uint8)
        boxes = []
        for who, x in places.items():
            image[:, int(x) : int(x) + SIDE] = (colors or {}).get(who, COLORS[who])
            boxes.append([x, 0, x + SIDE, SIDE])
        kps = [ARCFACE_TEMPLATE * (SIDE / 112) + [x, 0] for x in places.values()]
        count = len(places)
        found = Detections(
            np.array(boxes, np.float32).reshape(count, 4),
            np.full(count, 0.9, np.float32),
            np.array(kps, np.float32).reshape(count, 5, 2),
        )
        index = len(self.rows)
        faces = self.identities.step(index, index / 25, image, found)
        self.rows.append(dict(zip(places, faces, strict=True)))

    def names(self, who: int) -> list[int | None]:
        self.identities.resolve()
        return [row[who].tracklet.face for row in self.rows if who in row]


def test_two_people_who_change_places_out_of_sight() -> None:
    stage = Stage()
    for _ in range(20):
        stage.show({0: 100, 1: 400})
    for _ in range(5):
        stage.show({})
    for _ in range(20):
        stage.show({0: 400, 1: 100})
    assert set(stage.names(0)) == {0}
    assert set(stage.names(1)) == {1}


def test_two_people_who_pass_through_each_other() -> None:
    stage = Stage()
    for step in range(61):
        x, y = 100 + 5 * step, 400 - 5 * step
        # the one behind is not found while they overlap
        stage.show({0: x} if abs(x - y) < SIDE else {0: x, 1: y})
    assert set(stage.names(0)) == {0}
    assert set(stage.names(1)) == {1}


def test_touching_faces_whose_boxes_were_exchanged() -> None:
    stage = Stage()
    for _ in range(15):
        stage.show({0: 100, 1: 200})
    for step in range(12):
        stage.show({0: 100 + 3 * step, 1: 172 - 3 * step})
    for _ in range(15):
        stage.show({0: 300, 1: 100})
    assert set(stage.names(0)[-15:]) == {0}
    assert set(stage.names(1)[-15:]) == {1}


def test_somebody_new_gets_a_new_number_and_a_flicker_none() -> None:
    stage = Stage()
    for frame in range(40):
        places = {0: 100.0}
        if frame in (5, 12):
            places[1] = 300.0
        if frame >= 20:
            places[2] = 500.0
        stage.show(places)
    assert set(stage.names(0)) == {0}
    assert stage.names(1) == [None, None]
    assert set(stage.names(2)) == {1}


def test_passing_views_after_a_face_that_jumped_has_become_somebody() -> None:
    stage = Stage()
    for x in (100, 300, 500):
        stage.show({0: x})
    for who in (1, 2):
        for x in (100, 300):
            stage.show({who: x})
            stage.show({})
    assert set(stage.names(0)) == {0}


def test_half_a_face_that_comes_back_is_waited_for() -> None:
    stage = Stage()
    for _ in range(20):
        stage.show({0: 100})
    for _ in range(5):
        stage.show({})
    for _ in range(6):
        stage.show({0: 100}, {0: COLORS[1]})
    for _ in range(20):
        stage.show({0: 100})
    assert set(stage.names(0)) == {0}


def test_a_face_that_jumps_in_every_frame_is_one() -> None:
    stage = Stage()
    for frame in range(12):
        stage.show({0: 100 if frame % 2 else 500})
    assert set(stage.names(0)) == {0}


@pytest.mark.parametrize("frames", [1, 2])
def test_a_video_of_a_frame_or_two_shows_somebody(frames: int) -> None:
    stage = Stage()
    for _ in range(frames):
        stage.show({0: 100})
    assert stage.names(0) == [0] * frames


def test_who_it_is_is_known_in_time() -> None:
    stage = Stage()
    for _ in range(20):
        stage.show({0: 100})
    stage.show({})
    for frame in range(WAITING):
        stage.show({1: 100})
        if frame == WAITING - 1:
            assert stage.rows[-1][1].tracklet.decided
