import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.geometry.grid import grid_nodes, grid_pooling, grid_topology, grid_visible
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES
from helpers.synthetic_face import face_points

SCHEME = "106"
SHIFT = np.array([[1.0, 0.0, -200.0], [0.0, 1.0, -100.0]])  # the crop lies inside the frame
FRAME = np.array([[640, 480]])


def visible(points, matrix=SHIFT, frame=FRAME, patches=7):
    return grid_visible(patches, points[None], matrix[None], frame, SCHEME)[0].reshape(patches, -1)


def test_seven_by_seven_has_the_paper_s_edges():
    topology = grid_topology(7, 4)
    assert len(topology.undirected("adjacent")) == 84
    assert len(topology.undirected("symmetric")) == 21
    assert len(topology.edges) == len(topology.edge_types) == 2 * (84 + 21)
    assert not set(topology.undirected("adjacent")) & set(topology.undirected("symmetric"))


@given(patches=st.integers(2, 14), neighborhood=st.sampled_from([4, 8]))
def test_edges_follow_their_definition(patches, neighborhood):
    topology = grid_topology(patches, neighborhood)
    row, column = np.divmod(np.arange(patches**2), patches)
    down, right = np.abs(row[:, None] - row), np.abs(column[:, None] - column)
    distance = down + right if neighborhood == 4 else np.maximum(down, right)
    mirrored = (down == 0) & (column[:, None] + column == patches - 1) & (right > 0)
    for kind, expected in (("adjacent", distance == 1), ("symmetric", mirrored)):
        typed = [e for e, t in zip(topology.edges, topology.edge_types, strict=True) if t == kind]
        assert len(set(typed)) == len(typed)
        assert set(typed) == {(int(i), int(j)) for i, j in np.argwhere(expected)}


@given(patches=st.integers(2, 14), neighborhood=st.sampled_from([4, 8]))
def test_mirroring_maps_the_graph_onto_itself(patches, neighborhood):
    topology = grid_topology(patches, neighborhood)
    mirror = np.array(topology.mirror)
    assert (mirror[mirror] == np.arange(patches**2)).all()
    typed = set(zip(topology.edges, topology.edge_types, strict=True))
    assert {((int(mirror[i]), int(mirror[j])), kind) for (i, j), kind in typed} == typed
    flipped = grid_nodes(patches)[mirror] * (-1, 1) + (1, 0)
    np.testing.assert_allclose(flipped, grid_nodes(patches), atol=1e-12)


@given(
    patches=st.integers(1, 16),
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    seed=st.integers(0, 9),
)
def test_pooling_equals_torch_s_adaptive_average(patches, height, width, seed):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, height, width)))
    expected = torch.nn.functional.adaptive_avg_pool2d(values, patches).reshape(3, -1)
    pooling = grid_pooling(patches, height, width)
    np.testing.assert_allclose(
        values.reshape(3, -1).numpy() @ pooling.T, expected.numpy(), atol=1e-12
    )
    np.testing.assert_allclose(pooling.sum(axis=1), 1.0)


def test_face_cells_are_visible_and_background_is_not():
    seen = visible(face_points(SCHEME))
    assert seen[1:6, 2:5].all()  # forehead, eyes, nose, mouth
    assert seen[6, 3] == 1  # chin
    assert seen[6, 0] == seen[6, 6] == 0  # beside the chin
    assert (seen == seen[:, ::-1]).all()


def test_what_lies_outside_the_frame_is_invisible():
    points = face_points(SCHEME)
    half_outside = np.array([[1.0, 0.0, 56.0], [0.0, 1.0, -100.0]])  # frame starts at crop x = 56
    seen = visible(points, half_outside)
    inside = visible(points)
    assert seen[:, :3].sum() == 0
    assert (seen[:, 4:] == inside[:, 4:]).all()
    assert inside[:, :3].sum() > 0


def test_visibility_follows_the_mirror():
    turned = face_points(SCHEME) @ np.array([[0.7, 0.1], [0.0, 1.0]]) + (10.0, 0.0)
    flipped = (turned * (-1, 1) + (111, 0))[list(SCHEMES[SCHEME].mirror)]
    assert (visible(turned)[:, ::-1] == visible(flipped)).all()
    assert (visible(turned) != visible(flipped)).any()


@pytest.mark.parametrize("scheme", ["106", "98", "68"])
def test_schemes_agree_on_what_is_visible(scheme):
    points = face_points(scheme)[None]
    seen = grid_visible(7, points, SHIFT[None], FRAME, scheme)[0]
    reference = visible(face_points(SCHEME)).ravel()
    assert (seen != reference).sum() <= 2
