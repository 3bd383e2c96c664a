"""McNemar's test: do two classifiers make different errors?

Only the clips that one predicts correctly and the other does not distinguish them. If neither is
better, each of these is equally likely on either side (McNemar, Psychometrika 12, 1947; for
classifiers Dietterich, Neural Computation 10, 1998). The exact binomial form is used: a data set of
faces often has fewer than the 25 discordant clips that the chi-square form wants.

The test assumes independent clips. Clips of one person are not, so with few subjects its p-value is
too small; rely on the bootstrap over subjects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class McNemar:
    """Counts of clips by which side is correct, and the test of `only_a` against `only_b`.

    `cohens_g` is the fraction of B among the discordant clips minus one half: positive where B is
    better: 0.05 is small, 0.15 medium, 0.25 large (Cohen, Statistical Power Analysis, 1988,
    chapter 5). It is None where no clip is discordant.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    cohens_g: float | None


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> McNemar:
    """Run the exact two-sided test.

    Args:
        correct_a: bool `[clips]`, whether A predicts the clip's class.
        correct_b: the same for B, in the same order.
    """
    assert correct_a.shape == correct_b.shape
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    discordant = only_a + only_b
    return McNemar(
        both=int((correct_a & correct_b).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~correct_a & ~correct_b).sum()),
        p=float(binomtest(only_b, discordant, 0.5).pvalue) if discordant else 1.0,
        cohens_g=only_b / discordant - 0.5 if discordant else None,
    )
