"""The probes beside the network: how their regularization is chosen, and what they learn from."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from arpgnet.pipeline.train.probes import STRENGTHS, Examples, logistic_regression


def drawn(count: int, features: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    inputs = rng.normal(size=(count, features))
    inputs[np.arange(count), label] += 1.5
    return Examples(inputs, label)


# fewer features than clips, and more, where the probe works in the clips' span
@pytest.mark.parametrize("features", [5, 60])
@pytest.mark.parametrize("refit", [False, True])
def test_probe_is_scikit_learns(features: int, refit: bool) -> None:
    train, val, test = (drawn(count, features, seed) for seed, count in enumerate((30, 24, 12)))
    # a unit without a face is not learned from, and has no prediction
    val.inputs[0] = test.inputs[5] = np.nan
    found = logistic_regression(train, val, test.inputs, balanced=True, refit=refit)

    def plain(strength: float, *parts: Examples) -> tuple[StandardScaler, LogisticRegression]:
        inputs, label = (
            np.concatenate(values)
            for values in zip(
                *((part.known().inputs, part.known().label) for part in parts), strict=True
            )
        )
        scaler = StandardScaler().fit(inputs)
        model = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
        return scaler, model.fit(scaler.transform(inputs), label)

    def recall(strength: float) -> float:
        scaler, model = plain(strength, train)
        known = val.known()
        right = model.predict(scaler.transform(known.inputs)) == known.label
        return float(np.mean([right[known.label == k].mean() for k in range(3)]))

    best = max(STRENGTHS, key=recall)
    scaler, model = plain(best, train, val) if refit else plain(best, train)
    seen = np.arange(len(test.label)) != 5
    expected = model.predict_proba(scaler.transform(test.inputs[seen]))
    other = logistic_regression(train, val, test.inputs, balanced=True, refit=not refit)
    # the solver stops at a tolerance
    np.testing.assert_allclose(found[seen], expected, atol=1e-2)
    assert np.abs(found[seen] - expected).max() < 0.5 * np.abs(other[seen] - expected).max()
    assert np.isnan(found[5]).all()
