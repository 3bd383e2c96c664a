import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.geometry.crop import map_cells
from arpgnet.pipeline.geometry.landmark_regions import (
    NAMES,
    anchor_weights,
    landmark_nodes,
    landmark_pooling,
    landmark_topology,
    landmark_visible,
)
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, scheme_indices
from helpers.synthetic_face import face_points

SCHEME_NAMES = ["106", "98", "68"]
CELLS = map_cells(7, 7, 7.5, 16.0)
INDEX = {name: number for number, name in enumerate(NAMES)}


def flipped(points, scheme):
    return (points * (-1, 1) + (111, 0))[:, list(SCHEMES[scheme].mirror)]


def test_twenty_regions_in_symmetric_pairs():
    topology = landmark_topology()
    assert len(topology.names) == len(set(topology.names)) == 20
    pairs = {(topology.names[i], topology.names[j]) for i, j in topology.undirected("symmetric")}
    assert len(pairs) == 7
    assert all(left.replace("left", "right") == right for left, right in pairs)


def test_graph_is_connected_and_maps_onto_itself_when_mirrored():
    topology = landmark_topology()
    mirror = topology.mirror
    typed = set(zip(topology.edges, topology.edge_types, strict=True))
    assert len(typed) == len(topology.edges)
    assert {((mirror[i], mirror[j]), kind) for (i, j), kind in typed} == typed
    reached = {0}
    for _ in NAMES:
        reached |= {j for i, j in topology.undirected("adjacent") if i in reached}
        reached |= {i for i, j in topology.undirected("adjacent") if j in reached}
    assert reached == set(range(20))


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_regions_are_weighted_means_of_landmarks(scheme):
    to_anchors, to_regions = anchor_weights(scheme)
    np.testing.assert_allclose(to_anchors.sum(axis=1), 1.0)
    np.testing.assert_allclose(to_regions.sum(axis=1), 1.0)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@given(seed=st.integers(0, 99))
def test_flipping_the_image_flips_the_regions(scheme, seed):
    points = np.random.default_rng(seed).uniform(0, 111, size=(2, int(scheme), 2))
    mirror = list(landmark_topology().mirror)
    there, back = landmark_nodes(points, scheme), landmark_nodes(flipped(points, scheme), scheme)
    np.testing.assert_allclose(back, there[:, mirror] * (-1, 1) + (1, 0), atol=1e-12)
    weights = landmark_pooling(points, scheme, CELLS).reshape(2, 20, 7, 7)
    turned = landmark_pooling(flipped(points, scheme), scheme, CELLS).reshape(2, 20, 7, 7)
    np.testing.assert_allclose(turned, weights[:, mirror, :, ::-1], atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_regions_stand_where_their_names_say(scheme):
    points = face_points(scheme)[None]
    x, y = (landmark_nodes(points, scheme)[0] * 112 - 0.5).T
    for side, sign in (("left", -1), ("right", 1)):
        for part in ("forehead", "brow", "eye", "nostril", "cheek", "mouth_corner", "jaw"):
            assert sign * (x[INDEX[f"{part}_{side}"]] - 55.5) > 5, part
        order = [f"forehead_{side}", f"brow_{side}", f"eye_{side}", f"cheek_{side}"]
        order += [f"mouth_corner_{side}", f"jaw_{side}"]
        assert (np.diff([y[INDEX[name]] for name in order]) > 0).all()
    column = ["glabella", "nose_bridge", "nose_tip", "upper_lip", "lower_lip", "chin"]
    assert (np.diff([y[INDEX[name]] for name in column]) > 0).all()
    np.testing.assert_allclose([x[INDEX[name]] for name in column], 55.5, atol=1e-4)
    eye = points[0, list(scheme_indices(scheme)["eye_left"])].mean(axis=0)
    np.testing.assert_allclose((x[INDEX["eye_left"]], y[INDEX["eye_left"]]), eye, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_pooling_weighs_the_cells_around_the_region(scheme):
    points = face_points(scheme)[None]
    fine = map_cells(56, 56, 0.5, 2.0)
    weights = landmark_pooling(points, scheme, fine)[0]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert (weights >= 0).all()
    # on a fine map the weights' center of mass is the node, where the crop does not cut them off
    nodes = landmark_nodes(points, scheme)[0] * 112 - 0.5
    inner = [i for i, name in enumerate(NAMES) if not name.startswith(("jaw", "chin", "lower"))]
    np.testing.assert_allclose((weights @ fine)[inner], nodes[inner], atol=0.5)


def test_pooling_of_a_linear_map_reads_the_node_s_position():
    """Sampling follows the cells' true positions: shifting them shifts what is read."""
    points = face_points("106")[None]
    stride_aligned = map_cells(7, 7, 0.0, 16.0)
    read = landmark_pooling(points, "106", stride_aligned)[0] @ stride_aligned
    nodes = landmark_nodes(points, "106")[0] * 112 - 0.5
    middle = [INDEX[name] for name in ("eye_left", "nose_tip", "cheek_right", "glabella")]
    np.testing.assert_allclose(read[middle], nodes[middle], atol=1.5)


def test_a_region_outside_the_crop_pools_the_nearest_cells():
    points = face_points("106")[None] + (1e4, 0)
    weights = landmark_pooling(points, "106", CELLS)[0].reshape(20, 7, 7)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1.0)
    np.testing.assert_allclose(weights[:, :, -1].sum(axis=1), 1.0)


def test_visibility_ends_at_the_frame():
    points = face_points("106")[None]
    inside = np.array([[[1.0, 0.0, -50.0], [0.0, 1.0, -50.0]]])
    frame = np.array([[300, 300]])
    assert landmark_visible(points, inside, frame, "106").all()
    cut = np.array([[[1.0, 0.0, 56.0], [0.0, 1.0, -50.0]]])  # the frame starts at crop x = 56
    seen = landmark_visible(points, cut, frame, "106")[0]
    for name, value in zip(NAMES, seen, strict=True):
        if name.endswith(("_left", "_right")):
            assert value == name.endswith("_right"), name
