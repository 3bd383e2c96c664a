import numpy as np
import pytest

from arpgnet.pipeline.demo.landmarks import mirror_order
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, scheme_indices

NAMES = ("106", "98", "68")
# of InsightFace's 106 points, those that stand for iBUG's 68, in iBUG's order (public mapping)
TO_106 = [
    *(1, 10, 12, 14, 16, 3, 5, 7, 0, 23, 21, 19, 32, 30, 28, 26, 17),
    *(43, 48, 49, 51, 50, 102, 103, 104, 105, 101, 72, 73, 74, 86, 78, 79, 80, 85, 84),
    *(35, 41, 42, 39, 37, 36, 89, 95, 96, 93, 91, 90),
    *(52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54),
]
# WFLW's partners of points 33.. to 97, None on the midline (mmpose's dataset description)
WFLW_SWAP = [
    *(46, 45, 44, 43, 42, 50, 49, 48, 47, 37, 36, 35, 34, 33, 41, 40, 39, 38),
    *(None, None, None, None, 59, 58, None, 56, 55),
    *(72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65),
    *(82, 81, 80, None, 78, 77, 76, 87, 86, None, 84, 83),
    *(92, 91, None, 89, 88, 95, None, 93, 97, 96),
]


@pytest.mark.parametrize("name", NAMES)
def test_parts_hold_every_point_once(name):
    scheme = SCHEMES[name]
    parts = [
        *(side for pair in scheme.sides.values() for side in pair),
        *scheme.rows.values(),
        *scheme.midline.values(),
    ]
    assert sorted(i for part in parts for i in part) == list(range(int(name)))
    assert scheme.points == int(name)


@pytest.mark.parametrize("name", NAMES)
def test_mirror_is_its_own_inverse(name):
    mirror = np.array(SCHEMES[name].mirror)
    assert (mirror[mirror] == np.arange(int(name))).all()


@pytest.mark.parametrize("name", NAMES)
def test_mirror_swaps_the_regions_of_the_sides(name):
    regions, mirror = scheme_indices(name), SCHEMES[name].mirror
    sided = [region for region in regions if region.endswith("_left")]
    assert len(sided) >= 8
    for left in sided:
        right = left.removesuffix("left") + "right"
        assert {mirror[i] for i in regions[left]} == set(regions[right]), left
    for both in ("mouth", "upper_lip", "lower_lip", "contour", "nose", "chin", "nose_tip"):
        assert {mirror[i] for i in regions[both]} == set(regions[both]), both


def test_mirror_of_106_is_that_of_the_rendered_faces():
    assert list(SCHEMES["106"].mirror) == mirror_order()


def test_mirror_of_98_is_mmpose_s():
    contour = list(range(32, -1, -1))
    rest = [i if swap is None else swap for i, swap in enumerate(WFLW_SWAP, start=33)]
    assert list(SCHEMES["98"].mirror) == contour + rest


def test_mirrors_of_106_and_68_agree_through_the_public_mapping():
    small, large = SCHEMES["68"].mirror, SCHEMES["106"].mirror
    assert [TO_106[small[i]] for i in range(68)] == [large[TO_106[i]] for i in range(68)]


@pytest.mark.parametrize(
    "region",
    [
        *("contour", "brow_upper_left", "eye_outer_left", "eye_inner_right", "nose_tip", "chin"),
        *("mouth_corner_left", "mouth_corner_right", "nose_bottom", "upper_lip_outer"),
    ],
)
def test_regions_of_68_map_into_those_of_106(region):
    small, large = scheme_indices("68")[region], scheme_indices("106")[region]
    assert {TO_106[i] for i in small} <= set(large)


def test_rings_start_and_end_where_they_should():
    parts = scheme_indices("98")
    assert parts["eye_left"][0] == parts["eye_outer_left"][0] == 60
    assert parts["eye_inner_left"] == (64,)
    assert parts["eye_inner_right"] == (68,)
    assert parts["mouth_corner_left"] == (76, 88)
    assert parts["mouth_corner_right"] == (82, 92)
    assert parts["pupil_right"] == (97,)
    assert scheme_indices("68")["pupil_left"] == ()
