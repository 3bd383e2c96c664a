"""McNemar's test: do two classifiers err on different clips?

Only the clips that one names rightly and the other wrongly tell them apart. When neither is
better, each of them falls to either side like a coin (McNemar, Psychometrika 12, 1947; for
classifiers Dietterich, Neural Computation 10, 1998). The exact binomial form is used: a data set of
faces often has fewer than the 25 discordant clips that the chi-square form wants.

The test takes clips as independent. Clips of one person are not, so beside few subjects its p is
too small; the bootstrap over subjects is the one to lean on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class McNemar:
    """Counts of clips by who is right, and the test of `only_a` against `only_b`.

    `cohens_g` is the share of B among the discordant clips minus one half, so positive where B is
    better: 0.05 is small, 0.15 medium, 0.25 large (Cohen, Statistical Power Analysis, 1988,
    chapter 5). It is None where no clip is discordant.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    cohens_g: float | None


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Exact two-sided test.

    Args:
        right_a: bool `[clips]`, whether A names the clip's class.
        right_b: the same of B, in the same order.
    """
    assert right_a.shape == right_b.shape
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    discordant = only_a + only_b
    return McNemar(
        both=int((right_a & right_b).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~right_a & ~right_b).sum()),
        p=float(binomtest(only_b, discordant, 0.5).pvalue) if discordant else 1.0,
        cohens_g=only_b / discordant - 0.5 if discordant else None,
    )
