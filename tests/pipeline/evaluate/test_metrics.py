"""Our formulas over confusion counts against scikit-learn, and against hand-made cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from arpgnet.pipeline.evaluate.metrics import calibration_error, confusion_counts, per_class, scores

CLASSES = 4
PAIRS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(-1, CLASSES - 1)), min_size=1, max_size=40
)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    label, predicted = np.array(pairs).T
    return label, predicted


@given(PAIRS)
def test_scores_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    label, predicted = arrays(pairs)
    found = scores(confusion_counts(label, predicted, CLASSES), "wrong")
    occurs = np.unique(label)
    # to scikit-learn, -1 is one more (wrong) class
    keywords = {"labels": occurs, "average": "macro", "zero_division": 0}
    assert found["war"] == pytest.approx(accuracy_score(label, predicted))
    assert found["uar"] == pytest.approx(recall_score(label, predicted, **keywords))
    assert found["macro_f1"] == pytest.approx(f1_score(label, predicted, **keywords))
    assert found["coverage"] == pytest.approx((predicted >= 0).mean())


@given(PAIRS)
def test_skipping_equals_dropping_the_clips(pairs: list[tuple[int, int]]) -> None:
    label, predicted = arrays(pairs)
    known = predicted >= 0
    found = scores(confusion_counts(label, predicted, CLASSES), "skip")
    if not known.any():
        assert np.isnan(found["war"])
        return
    only = scores(confusion_counts(label[known], predicted[known], CLASSES), "wrong")
    for name in ("war", "uar", "macro_f1"):
        assert found[name] == pytest.approx(only[name])
    assert found["coverage"] == pytest.approx(known.mean())


@given(PAIRS)
def test_classes_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    label, predicted = arrays(pairs)
    counts = confusion_counts(label, predicted, CLASSES)
    known = predicted >= 0
    np.testing.assert_array_equal(
        counts[:, :-1], confusion_matrix(label[known], predicted[known], labels=range(CLASSES))
        if known.any() else 0,
    )  # fmt: skip
    found = per_class(counts, "wrong")
    precision, recall, f1, support = precision_recall_fscore_support(
        label, predicted, labels=range(CLASSES), zero_division=0
    )
    occurs = support > 0
    np.testing.assert_array_equal(found["support"], support)
    np.testing.assert_allclose(found["precision"], precision)
    np.testing.assert_allclose(found["recall"][occurs], recall[occurs])
    np.testing.assert_allclose(found["f1"][occurs], f1[occurs])
    assert np.isnan(found["recall"][~occurs]).all()


def test_scores_of_many_confusions_at_once() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (3, 2, CLASSES, CLASSES + 1))
    together = scores(counts, "wrong")
    for place in np.ndindex(3, 2):
        for name, value in scores(counts[place], "wrong").items():
            assert together[name][place] == pytest.approx(value)


def test_uar_is_not_war_on_unequal_classes() -> None:
    label, predicted = np.array([0] * 9 + [1]), np.zeros(10, int)
    found = scores(confusion_counts(label, predicted, 2), "wrong")
    assert found["war"] == pytest.approx(0.9)
    assert found["uar"] == pytest.approx(0.5)


def test_calibration_error() -> None:
    label = np.array([0, 0, 0, 1])
    # always 0.9 confident of class 0, correct three times in four; the last clip has no prediction
    probabilities = np.tile([0.9, 0.1], (5, 1))
    probabilities[4] = np.nan
    found = calibration_error(np.append(label, 0), probabilities)
    assert found == pytest.approx(0.15)
    certain = np.eye(2)[label]
    assert calibration_error(label, certain) == 0
    assert np.isnan(calibration_error(label[:1], probabilities[4:]))
