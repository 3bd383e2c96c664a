"""Whether attention may be read as an explanation: do the regions with most attention matter?

Attention weights need not say what a prediction rests on (Jain and Wallace 2019, arXiv
1902.10186); whether they do is measured here for the network at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# rank correlations from here on are called agreement; our choice, stated with the figure
AGREE = 0.5
MARGIN = 0.1  # above the correlation of uniform attention over the same graph
# a region that is visible in fewer frames gets little attention and has little effect because it is
# masked already: it would raise the correlation without any evidence
SEEN = 0.5


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Compute Spearman's rank correlation; None for fewer than three values or constant ones.

    As `scipy.stats.spearmanr`, which takes 1 s to import, in every process.
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank from 1 for the lowest; equal values share the mean of their ranks."""
    _, number, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(count) - (count - 1) / 2)[number]
    return ranks


def agreement(
    attention: np.ndarray, uniform: np.ndarray, drop_VN: np.ndarray, seen: np.ndarray
) -> dict[str, Any]:
    """Correlate attention with the occlusion effect, over the regions that are mostly visible.

    Args:
        attention: [N], how much each region is attended to.
        uniform: [N], the same for uniform attention.
        drop_VN: [V, N], drop of the predicted class's probability in each view.
        seen: [N], fraction of the valid frames that show the region.

    Returns:
        `rho` between attention and mean drop; `uniform_rho` with uniform attention instead: what
        the graph's shape alone gives; `halves_rho` between the mean drops of every other view and
        of the rest: how reproducible the occlusion map is; `regions` compared; and `agree`: `rho`
        is at least `AGREE`, and at least `MARGIN` above `uniform_rho`. A rho is None where it is
        undefined.
    """
    compared = (seen >= SEEN) & ~np.isnan(drop_VN).any(axis=0)
    drop = drop_VN.mean(0)[compared]
    rho, uniform_rho = spearman(attention[compared], drop), spearman(uniform[compared], drop)
    halves = [drop_VN[start::2].mean(0)[compared] for start in (0, 1)] if len(drop_VN) > 1 else None
    return {
        "rho": rho,
        "uniform_rho": uniform_rho,
        "halves_rho": spearman(*halves) if halves else None,
        "regions": int(compared.sum()),
        "agree": rho is not None and rho >= max(AGREE, (uniform_rho or 0.0) + MARGIN),
    }
