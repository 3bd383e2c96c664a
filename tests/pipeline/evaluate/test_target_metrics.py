"""Scores of action units, intensities, valence and arousal against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from arpgnet.pipeline.evaluate.target_metrics import (
    ccc,
    f1,
    icc,
    mae,
    over_outputs,
    presence_sums,
    rmse,
    value_sums,
)
from arpgnet.pipeline.tables.thresholds import best_thresholds
from arpgnet.pipeline.training.selection import (
    binary_f1,
    concordance,
    intraclass_correlation,
)


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Annotations and predictions of 200 units and 3 outputs, some of them unknown."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=(200, 3))
    values = 0.6 * target + rng.normal(size=(200, 3)) + [0, 1, -2]
    target[rng.random(target.shape) < 0.2] = np.nan
    values[::17] = np.nan
    return target, values


def known(target: np.ndarray, values: np.ndarray, output: int) -> tuple[np.ndarray, np.ndarray]:
    both = ~np.isnan(target[:, output]) & ~np.isnan(values[:, output])
    return target[both, output], values[both, output]


def anova_icc31(x: np.ndarray, y: np.ndarray) -> float:
    """Shrout and Fleiss 1979, table 1, with the mean squares of a two-way layout."""
    table = np.stack([x, y], axis=1)
    n, k = table.shape
    rows, raters = table.mean(axis=1), table.mean(axis=0)
    between = k * ((rows - table.mean()) ** 2).sum() / (n - 1)
    rest = table - rows[:, None] - raters[None] + table.mean()
    residual = (rest**2).sum() / ((n - 1) * (k - 1))
    return float((between - residual) / (between + (k - 1) * residual))


def lin_ccc(x: np.ndarray, y: np.ndarray) -> float:
    """Lin 1989, by Pearson's correlation and the bias correction factor."""
    r = stats.pearsonr(x, y).statistic
    scale = x.std() / y.std()
    shift = (x.mean() - y.mean()) / np.sqrt(x.std() * y.std())
    return float(r * 2 / (scale + 1 / scale + shift**2))


def test_values_are_scored_as_by_the_plain_formulas(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    target, values = pairs
    sums = value_sums(target, values).sum(axis=0)
    for output in range(3):
        x, y = known(target, values, output)
        assert icc(sums)[output] == pytest.approx(anova_icc31(x, y))
        assert ccc(sums)[output] == pytest.approx(lin_ccc(x, y))
        assert mae(sums)[output] == pytest.approx(np.abs(x - y).mean())
        assert rmse(sums)[output] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))
        assert concordance(x, y) == pytest.approx(lin_ccc(x, y))
        assert intraclass_correlation(x, y) == pytest.approx(anova_icc31(x, y))


def test_sums_of_parts_are_the_sum_of_the_whole(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    target, values = pairs
    parts = [value_sums(target[part], values[part]).sum(0) for part in (slice(90), slice(90, None))]
    assert ccc(sum(parts)) == pytest.approx(ccc(value_sums(target, values).sum(0)))  # type: ignore[arg-type]


def test_presence_is_scored_as_by_scikit_learn(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    target, values = pairs
    true = np.where(np.isnan(target), np.nan, target > 0.5)
    found = np.where(np.isnan(values), np.nan, values > 0)
    sums = presence_sums(true, found).sum(axis=0)
    for output in range(3):
        x, y = known(true, found, output)
        assert f1(sums)[output] == pytest.approx(f1_score(x, y))
        assert binary_f1(x > 0.5, y > 0.5) == pytest.approx(f1_score(x, y))


def test_a_unit_that_is_never_present_has_no_score_and_does_not_count() -> None:
    target = np.array([[0.0, 1.0], [0.0, 0.0]])
    scores = f1(presence_sums(target, target).sum(axis=0))
    assert np.isnan(scores[0])
    assert over_outputs(scores) == 1
    assert np.isnan(binary_f1(target[:, 0] > 0.5, target[:, 0] > 0.5))


def test_constant_predictions_have_no_agreement_but_are_defined() -> None:
    target = np.array([[0.0], [1.0], [2.0]])
    assert ccc(value_sums(target, np.ones((3, 1))).sum(0)) == pytest.approx(0)
    same = np.ones((3, 1))
    assert np.isnan(ccc(value_sums(same, same).sum(0)))
    assert np.isnan(icc(value_sums(same, same).sum(0)))


def test_thresholds_have_the_best_f1_of_all() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((60, 3)).round(2)
    target = (rng.random((60, 3)) < values**2).astype(float)
    target[:, 2] = 0
    target[::7, 0] = np.nan
    chosen = best_thresholds(target, values)
    grid = np.linspace(0, 1, 201)
    for unit in (0, 1):
        x, y = known(target, values, unit)
        reached = f1_score(x, y >= chosen[unit])
        assert reached >= max(f1_score(x, y >= one, zero_division=0) for one in grid) - 1e-12
    assert chosen[2] == 0.5
