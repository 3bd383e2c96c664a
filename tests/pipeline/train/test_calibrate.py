"""The temperature that validation chooses."""

import numpy as np
import pytest

from arpgnet.pipeline.tables.predictions import temper
from arpgnet.pipeline.train.calibrate import FEWEST, fit_temperature


def drawn(units: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are as likely as some probabilities say, and these at a temperature."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.full(4, 0.5), units)
    label = np.array([rng.choice(4, p=row) for row in true])
    return label, temper(true, temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found(temperature: float) -> None:
    label, shown = drawn(4000, temperature)
    # what was divided by it is divided by its inverse
    assert fit_temperature(label, shown) == pytest.approx(1 / temperature, rel=0.1)


def test_units_without_a_prediction_are_left_out() -> None:
    label, shown = drawn(200, 2.0)
    without = np.concatenate([shown, np.full((50, 4), np.nan)])
    assert fit_temperature(np.append(label, np.zeros(50, int)), without) == fit_temperature(
        label, shown
    )
    assert fit_temperature(label[:1], np.full((1, 4), np.nan)) == 1.0


def test_few_predictions_choose_no_temperature() -> None:
    label, shown = drawn(FEWEST, 2.0)
    assert fit_temperature(label, shown) != 1.0
    assert fit_temperature(label[1:], shown[1:]) == 1.0


def test_few_units_of_many_classes_make_it_neither_too_confident_nor_too_little() -> None:
    rng = np.random.default_rng(1)
    beyond = []
    for _ in range(100):
        true = rng.dirichlet(np.full(8, 0.1), 72)
        label = np.array([rng.choice(8, p=row) for row in true])
        shown = temper(true, 1.6)
        calibrated = temper(shown, fit_temperature(label, shown))
        beyond.append(calibrated.max(axis=1).mean() - true.max(axis=1).mean())
    assert abs(np.mean(beyond)) < 0.01


def test_perfect_validation_gives_no_certainty() -> None:
    label = np.arange(20) % 4
    shown = np.where(np.eye(4)[label] > 0, 0.4, 0.2)
    calibrated = temper(shown, fit_temperature(label, shown))
    assert 0.9 < calibrated.max() < 0.99
    np.testing.assert_array_equal(calibrated.argmax(1), label)
