"""Regions are called by what they show: checked at ArcFace's template, and on grids."""

import pytest

from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX
from arpgnet.pipeline.geometry.grid import grid_nodes, grid_topology
from arpgnet.pipeline.geometry.landmark_regions import NAMES
from arpgnet.pipeline.report.face_parts import distinct, face_part, region_names


def test_the_template_of_the_alignment_has_its_names() -> None:
    points = (ARCFACE_TEMPLATE + 0.5) / CROP_PX
    assert [face_part(x, y) for x, y in points.tolist()] == [
        "left eye", "right eye", "nose", "mouth, left corner", "mouth, right corner",
    ]  # fmt: skip


def grid(side: int) -> list[str]:
    names = list(grid_topology(side, 4).names)
    return region_names({"kind": "grid", "names": names, "xy": grid_nodes(side).tolist()})


def test_every_cell_of_the_usual_grid_has_a_name_of_its_own() -> None:
    names = grid(7)
    assert names[3 * 7 + 2] == "left eye"
    assert names[5 * 7 + 3] == "mouth"
    # but for the hairline and the jaw, whose cells show the same
    twice = {name for name in names if names.count(name) > 1}
    assert twice <= {"left hairline", "right hairline", "left jaw", "right jaw"}


@pytest.mark.parametrize("side", [2, 3, 5, 7, 14])
def test_names_are_mirrored(side: int) -> None:
    names = grid(side)
    assert not any(name.startswith("row") for name in names)
    for number, name in enumerate(names):
        other = names[number - number % side + side - 1 - number % side]
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert other == swapped


def test_landmark_regions_read_as_words() -> None:
    names = region_names({"kind": "landmark", "names": list(NAMES), "xy": []})
    assert "left mouth corner" in names
    assert "upper lip" in names
    assert not any("_" in name for name in names)


def test_a_list_names_no_part_twice() -> None:
    assert distinct([3, 1, 0, 2], ["a", "b", "c", "b"], 2) == [3, 0]
    assert distinct([0], ["a"], 3) == [0]
