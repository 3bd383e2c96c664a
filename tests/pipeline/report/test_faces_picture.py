import numpy as np

from arpgnet.pipeline.geometry.grid import grid_nodes, grid_topology
from arpgnet.pipeline.report.images import BLUE, ORANGE, WHITE, YELLOW, draw_graph
from helpers.synthetic_face import face_points

GRAY = np.full((112, 112, 3), 128, np.uint8)
NO_POINTS = np.empty((0, 2), np.float32)


def draw(points=NO_POINTS, visible=None, scale=4, edges=None, types=None):
    topology = grid_topology(7, 4)
    edges = topology.edges if edges is None else edges
    types = topology.edge_types if types is None else types
    visible = np.ones(49) if visible is None else visible
    return draw_graph(GRAY, points, grid_nodes(7), edges, types, visible, scale=scale)


def at(image, xy):
    """The pixel at a position given in crop coordinates from 0 to 1."""
    column, row = (np.asarray(xy) * image.shape[0]).astype(int)
    return tuple(image[row, column].tolist())


def near(color, other, by=40):
    return max(abs(a - b) for a, b in zip(color, other, strict=True)) <= by


def test_image_is_enlarged_and_the_crop_left_alone():
    before = GRAY.copy()
    image = draw(scale=3)
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


def test_landmarks_are_drawn_where_they_are():
    points = face_points("106")
    image = draw(points=points, edges=[], types=[], visible=np.ones(49), scale=6)
    nodes = grid_nodes(7) * 112 - 0.5
    alone = [
        p
        for p in points
        if p.min() > 4 and p.max() < 107 and np.linalg.norm(nodes - p, axis=1).min() > 3
    ]
    assert len(alone) > 40
    for point in alone:
        assert near(at(image, (point + 0.5) / 112), YELLOW, by=90), point
