import numpy as np

from arpgnet.pipeline.geometry.grid import grid_nodes, grid_topology
from arpgnet.pipeline.report.images import (
    BLUE,
    ORANGE,
    WHITE,
    YELLOW,
    draw_graph,
    draw_landmarks,
    spread_clips,
)
from helpers.report_outputs import clip
from helpers.synthetic_face import face_points

GRAY = np.full((112, 112, 3), 128, np.uint8)


def draw(visible=None, scale=4, edges=None, types=None):
    topology = grid_topology(7, 4)
    edges = topology.edges if edges is None else edges
    types = topology.edge_types if types is None else types
    visible = np.ones(49) if visible is None else visible
    return draw_graph(GRAY, grid_nodes(7), edges, types, visible, scale=scale)


def at(image, xy):
    """The pixel at a position given in crop coordinates from 0 to 1."""
    column, row = (np.asarray(xy) * image.shape[0]).astype(int)
    return tuple(image[row, column].tolist())


def near(color, other, by=40):
    return max(abs(a - b) for a, b in zip(color, other, strict=True)) <= by


def test_image_is_enlarged_and_the_crop_left_alone():
    before = GRAY.copy()
    for image in (draw(scale=3), draw_landmarks(GRAY, face_points("106"), scale=3)):
        assert image.shape == (336, 336, 3)
        assert image.dtype == np.uint8
    assert (before == GRAY).all()


def test_visible_nodes_are_filled_and_others_hollow():
    visible = np.ones(49)
    visible[24] = 0
    image = draw(visible=visible)
    assert at(image, grid_nodes(7)[23]) == BLUE
    assert at(image, grid_nodes(7)[24]) == WHITE


def test_edges_have_the_color_of_their_type():
    middle = (grid_nodes(7)[16] + grid_nodes(7)[17]) / 2
    adjacent = draw(edges=[(16, 17), (17, 16)], types=["adjacent"] * 2)
    assert near(at(adjacent, middle), BLUE)
    symmetric = draw(edges=[(14, 20), (20, 14)], types=["symmetric"] * 2)
    orange = np.abs(symmetric.astype(int) - ORANGE).max(axis=-1) < 40
    assert orange.any()
    # bowed: below the straight line through the nodes between its ends
    rows = np.nonzero(orange)[0]
    assert rows.max() > grid_nodes(7)[17, 1] * 448 + 12
    assert at(symmetric, middle) != at(adjacent, middle)


def test_crops_of_any_size_give_pictures_of_one_size():
    large = np.full((224, 224, 3), 128, np.uint8)
    topology = grid_topology(7, 4)
    arguments = (grid_nodes(7), topology.edges, topology.edge_types, np.ones(49))
    assert (draw_graph(large, *arguments) == draw_graph(GRAY, *arguments)).all()
    points = face_points("106")
    assert (draw_landmarks(large, points) == draw_landmarks(GRAY, points)).all()


def test_a_fine_graph_leaves_the_face_visible():
    topology = grid_topology(14, 4)
    image = draw_graph(GRAY, grid_nodes(14), topology.edges, topology.edge_types, np.ones(196))
    assert np.median(np.abs(image.astype(int) - 128).max(axis=-1)) < 40


def test_landmarks_are_drawn_where_they_are_and_leave_the_face_bare():
    points = face_points("106")
    image = draw_landmarks(GRAY, points, scale=6)
    inside = [point for point in points if point.min() > 4 and point.max() < 107]
    assert len(inside) > 40
    for point in inside:
        assert near(at(image, (point + 0.5) / 112), YELLOW, by=90), point
    # thin: nearly all of the face can be seen
    assert (image == GRAY[0, 0]).all(axis=-1).mean() > 0.9


def subjects_of(chosen):
    return {name: [one.subject for one in clips] for name, clips in chosen.items()}


def test_every_class_and_as_many_subjects_as_fit_are_chosen():
    many = [
        clip(2 * n + label, label="ab"[label], subject=f"s{n:03}")
        for n in range(118)
        for label in (0, 1)
    ]
    chosen = subjects_of(spread_clips(many, ["a", "b"], 8))
    assert {name: len(people) for name, people in chosen.items()} == {"a": 8, "b": 8}
    people = sorted(int(name[1:]) for name in chosen["a"] + chosen["b"])
    assert len(set(people)) == 16
    # over the whole list, not its first ones
    assert max(b - a for a, b in zip([0, *people], [*people, 117], strict=True)) < 30


def test_of_few_subjects_each_is_chosen_about_equally_often():
    few = [clip(n, label="a", subject=f"s{n % 3}") for n in range(12)]
    chosen = subjects_of(spread_clips(few, ["a", "none"], 6))
    assert sorted(chosen["a"]) == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert chosen["none"] == []


def test_clips_of_unknown_people_or_of_several_classes_are_chosen_too():
    unknown = [clip(n, label=None, subject=None) for n in range(5)]
    chosen = spread_clips(unknown, [None], 3)[None]
    assert len({one.clip_id for one in chosen}) == 3
