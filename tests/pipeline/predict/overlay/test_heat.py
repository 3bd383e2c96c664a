"""The heat map: which way and how far a face's colors change."""

import numpy as np
import pytest

from arpgnet.pipeline.predict.overlay.heat import LESS, MORE, TOP, draw_heat, heat
from arpgnet.pipeline.predict.rows import Regions, Row

BOX = np.array([100.0, 60.0, 300.0, 260.0])
WHERE = np.array([[0.25, 0.5], [0.75, 0.5]])


def drawn(times: list[float], box: np.ndarray = BOX, where: np.ndarray = WHERE) -> np.ndarray:
    """What is added to a gray picture, int [320, 400, 3]."""
    image = np.full((320, 400, 3), 128, np.uint8)
    draw_heat(image, Row(0, 0.0, 0, box, regions=Regions(where, np.array(times))))
    return image.astype(int) - 128


def test_more_than_even_is_orange_and_less_is_blue() -> None:
    added = drawn([TOP, 1 / TOP])
    for x, color in ((150, MORE), (250, LESS)):
        way = np.sign(np.array(color) - 128)
        assert (np.sign(added[160, x]) == way).all()
        assert np.abs(added[160, x]).max() > 60


def test_an_even_attention_changes_nothing() -> None:
    assert not drawn([1.0, 1.0]).any()


def test_a_little_more_is_a_little_orange() -> None:
    faint, full = (np.abs(drawn([times, 1.0])[160, 150]).max() for times in (1.1, TOP))
    assert 5 < faint < full / 2


def test_a_region_that_is_not_visible_is_left_out() -> None:
    added = drawn([np.nan, TOP])
    assert np.abs(added[160, 250]).max() > 60
    assert not added[160, 110:140].any()
    assert not drawn([np.nan, np.nan]).any()


def test_the_level_of_a_place_does_not_depend_on_how_many_regions_are_there() -> None:
    side = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 12)]), -1).reshape(-1, 2)
    for where in (WHERE, side):
        level, near = heat(Regions(where, np.full(len(where), TOP)))
        assert level[near > 0.5] == pytest.approx(1)


@pytest.mark.parametrize("corner", [(-150, -120), (330, 250), (1000, 20), (-1000, -1000)])
def test_a_face_at_the_pictures_edge(corner: tuple[int, int]) -> None:
    box = np.array([*corner, corner[0] + 200.0, corner[1] + 200.0])
    added = drawn([TOP, TOP], box)
    inside = np.zeros((320, 400), bool)
    x, y = (max(0, value - 30) for value in corner)
    inside[y : max(0, corner[1] + 230), x : max(0, corner[0] + 230)] = True
    assert not added[~inside].any()
    assert added.any() == (corner[0] < 400 and corner[0] > -200)


def test_without_regions_nothing_is_drawn() -> None:
    image = np.zeros((320, 400, 3), np.uint8)
    draw_heat(image, Row(0, 0.0, 0, BOX))
    draw_heat(image, Row(0, 0.0))
    assert not image.any()
