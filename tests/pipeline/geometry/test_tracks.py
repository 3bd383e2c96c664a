"""Tracks: who is who between frames, and who the clip is about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.geometry.tracks import Track, choose, iou, link, of_person

NOBODY = np.zeros((0, 4), dtype=np.float32)


def box(x: float, y: float, side: float = 40.0) -> list[float]:
    return [x, y, x + side, y + side]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def members(tracks: list[Track]) -> list[list[tuple[int, int]]]:
    return [list(zip(t.frames, t.picks, strict=True)) for t in tracks]


def test_two_people_keep_their_tracks_when_detections_change_places() -> None:
    a, b = box(10, 10), box(200, 10)
    tracks = link([boxes(a, b), boxes(b, a), boxes(a, b)], 0.3)
    assert members(tracks) == [[(0, 0), (1, 1), (2, 0)], [(0, 1), (1, 0), (2, 1)]]


def test_a_quick_move_without_overlap_enough_is_followed() -> None:
    # 25 px of a 40 px face: intersection over union 0.23, below the threshold
    tracks = link([boxes(box(10, 10)), boxes(box(35, 10)), boxes(box(60, 10))], 0.3)
    assert members(tracks) == [[(0, 0), (1, 0), (2, 0)]]


def test_a_face_of_another_size_near_by_is_another_face() -> None:
    tracks = link([boxes(box(100, 100, 40)), boxes(box(110, 110, 200))], 0.3)
    assert len(tracks) == 2


def test_a_hidden_face_is_taken_up_again() -> None:
    tracks = link([boxes(box(10, 10)), NOBODY, NOBODY, boxes(box(12, 12))], 0.3)
    assert members(tracks) == [[(0, 0), (3, 0)]]


def test_the_best_assignment_wins_over_the_first_come() -> None:
    """Both now-boxes overlap track 0; greedy by order would give it the wrong one."""
    before = boxes(box(0, 0), box(30, 0))
    now = boxes(box(20, 0), box(5, 0))
    assert members(link([before, now], 0.1)) == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


@given(st.permutations(range(4)))
def test_the_order_of_detections_does_not_matter(order: list[int]) -> None:
    people = boxes(box(0, 0), box(100, 0), box(200, 0), box(300, 0))
    tracks = link([people, people[order]], 0.3)
    assert [order[track.picks[1]] for track in tracks] == [0, 1, 2, 3]


def test_every_detection_is_in_exactly_one_track() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.uniform(0, 300, (n, 2)) for n in (3, 0, 5, 2, 4)]
    found = [np.concatenate([corner, corner + 50], axis=1) for corner in frames]
    seen = sorted(pair for track in members(link(found, 0.3)) for pair in track)
    assert seen == [(f, d) for f, boxes_ in enumerate(found) for d in range(len(boxes_))]


def test_iou_by_hand() -> None:
    a = boxes([0, 0, 10, 10], [0, 0, 0, 0])
    b = boxes([5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30])
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 1, 0], [0, 0, 0]])


@pytest.fixture
def cast() -> list[Track]:
    """In 10 frames of 400x300: a small one all the time, a big one for 4, a central one for 6."""
    frames = []
    for t in range(10):
        rows = [box(10, 10, 30)]
        if t < 4:
            rows.append(box(250, 150, 140))
        if t >= 4:
            rows.append(box(180, 130, 40))
        frames.append(boxes(*rows))
    return link(frames, 0.3)


@pytest.mark.parametrize(("rule", "expected"), [("longest", 30), ("largest", 140), ("center", 40)])
def test_the_main_face_is_the_one_asked_for(cast: list[Track], rule, expected: int) -> None:
    chosen = choose(cast, rule, 10, 400, 300)
    assert chosen is not None
    assert chosen.boxes[0][2] - chosen.boxes[0][0] == expected


def test_a_passing_giant_is_not_the_largest() -> None:
    """A false detection over half the image in one frame of ten loses to a steady face."""
    frames = [boxes(box(100, 100, 60)) for _ in range(10)]
    frames[5] = boxes(box(100, 100, 60), box(0, 0, 180))
    chosen = choose(link(frames, 0.3), "largest", 10, 400, 300)
    assert chosen is not None
    assert len(chosen.frames) == 10


def test_ties_go_to_the_larger_face_then_to_the_first() -> None:
    small, large = box(10, 10, 30), box(200, 10, 60)
    chosen = choose(link([boxes(small, large)] * 2, 0.3), "longest", 2, 400, 300)
    assert chosen is not None
    assert chosen.boxes[0][0] == 200
    twins = link([boxes(box(10, 10), box(200, 10))], 0.3)
    chosen = choose(twins, "longest", 1, 400, 300)
    assert chosen is not None
    assert chosen.track_id == 0


def test_nobody_is_chosen_from_nobody() -> None:
    assert choose(link([NOBODY, NOBODY], 0.3), "longest", 2, 400, 300) is None


def lefts(tracks: list[Track]) -> list[float]:
    return [float(track.boxes[0][0]) for track in tracks]


def test_of_two_people_the_left_and_the_right_of_the_image() -> None:
    both = link([boxes(box(300, 10), box(60, 10))] * 5, 0.3)
    assert lefts(of_person(both, "left", 400)) == [60]
    assert lefts(of_person(both, "right", 400)) == [300]
    # though both sit in one half of it
    near = link([boxes(box(100, 10), box(20, 10))] * 5, 0.3)
    assert lefts(of_person(near, "right", 400)) == [100]


def test_who_only_passes_is_nobody() -> None:
    frames = [boxes(box(60, 10), box(300, 10)) for _ in range(10)]
    # in 4 of 10 frames
    for frame in range(4):
        frames[frame] = boxes(box(60, 10), box(300, 10), box(0, 200, 60), box(350, 200, 50))
    tracks = link(frames, 0.3)
    assert lefts(of_person(tracks, "left", 400)) == [60]
    assert lefts(of_person(tracks, "right", 400)) == [300]


def test_a_single_person_must_sit_on_the_side_that_is_asked_for() -> None:
    alone = link([boxes(box(60, 10))] * 3, 0.3)
    assert lefts(of_person(alone, "left", 400)) == [60]
    assert of_person(alone, "right", 400) == []
    assert of_person([], "left", 400) == []
