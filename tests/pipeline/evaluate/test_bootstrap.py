import numpy as np
import pytest

from arpgnet.pipeline.evaluate.bootstrap import interval, resample_confusions, resample_weights


def test_every_resample_draws_as_many_clusters() -> None:
    weights = np.concatenate(list(resample_weights(7, 450)))
    assert weights.shape == (450, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.mean() == pytest.approx(1)
    # the number of draws of one cluster is binomial(7, 1/7): variance 6/7
    assert weights.var(axis=0).mean() == pytest.approx(6 / 7, rel=0.1)


def test_same_seed_same_resamples() -> None:
    first, second = (np.concatenate(list(resample_weights(5, 300))) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_weighted_sums_equal_a_plain_loop() -> None:
    counts = np.random.default_rng(1).integers(0, 4, (6, 2, 3, 4))
    weights = np.concatenate(list(resample_weights(6, 250)))
    expected = [sum(w * c for w, c in zip(row, counts, strict=True)) for row in weights]
    np.testing.assert_array_equal(resample_confusions(counts, 250), np.array(expected))


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        # 30 subjects of 10 clips, each with a rate of its own: mean 0.7
        rate = rng.beta(7, 3, 30)
        right = rng.binomial(10, rate)
        counts = np.stack([right, 10 - right], axis=1)
        drawn = resample_confusions(counts, 400, seed=int(rng.integers(1 << 30)))
        low, high = interval(drawn[:, 0] / drawn.sum(1), 0.95)
        hits += low <= 0.7 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_interval_leaves_out_nan() -> None:
    low, high = interval(np.append(np.linspace(0, 1, 101), np.nan), 0.9)
    assert (low, high) == pytest.approx((0.05, 0.95))
