"""McNemar's exact test against the binomial tail and against published numbers."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.compare.mcnemar import mcnemar


def rights(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a, bool), np.array(b, bool)


def test_counts_and_effect() -> None:
    found = mcnemar(*rights(5, 9, 1, 3))
    assert (found.both, found.only_a, found.only_b, found.neither) == (5, 9, 1, 3)
    assert found.cohens_g == pytest.approx(-0.4)
    # 2 * (C(10,0) + C(10,1)) / 2^10
    assert found.p == pytest.approx(22 / 1024)


def test_published_example() -> None:
    # Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013), table 2:
    # airway hyper-responsiveness, discordant 1 and 7, exact conditional p = 0.0703
    assert mcnemar(*rights(1, 1, 7, 12)).p == pytest.approx(0.0703, abs=5e-5)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda n: sum(n) > 0))
def test_two_binomial_tails(numbers: tuple[int, int, int, int]) -> None:
    _, only_a, only_b, _ = numbers
    found, mirrored = mcnemar(*rights(*numbers)), mcnemar(*reversed(rights(*numbers)))
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert found.p == pytest.approx(min(1, 2 * tail))
    assert mirrored.p == pytest.approx(found.p)
    if n:
        assert found.cohens_g == pytest.approx(-(mirrored.cohens_g or 0))
    else:
        assert (found.p, found.cohens_g) == (1, None)
