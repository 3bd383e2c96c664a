"""Whether a map may be read as an explanation: do the regions that are high in it matter?

Attention weights need not say what a prediction rests on (Jain and Wallace 2019, arXiv
1902.10186); whether they do is measured here for the network at hand, and whether relevance (see
`relevance`) does.
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
RESAMPLES, LEVEL = 1000, 0.95


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
    shown_VN: np.ndarray, drop_VN: np.ndarray, seen: np.ndarray, uniform: np.ndarray | None = None
) -> dict[str, Any]:
    """Correlate a map with the occlusion effect, over the regions that are mostly visible.

    Args:
        shown_VN: [V, N], the map of each view.
        drop_VN: [V, N], drop of the predicted class's probability in each view.
        seen: [N], fraction of the valid frames that show the region.
        uniform: [N], of attention: the same for uniform attention.

    Returns:
        `rho` between the mean over views of both; `uniform_rho` with uniform attention instead:
        what the graph's shape alone gives; `halves_rho` between the mean drops of every other view
        and of the rest: how reproducible the occlusion map is; `each`, the mean over the views of
        the rho of their own map and drops, with its interval; `regions` compared; and `agree`:
        `rho` is at least `AGREE`, and at least `MARGIN` above `uniform_rho`. A rho is None where it
        is undefined.
    """
    compared = _compared(drop_VN, seen)
    drop = drop_VN.mean(0)[compared]
    rho = spearman(shown_VN.mean(0)[compared], drop)
    uniform_rho = None if uniform is None else spearman(uniform[compared], drop)
    halves = [drop_VN[start::2].mean(0)[compared] for start in (0, 1)] if len(drop_VN) > 1 else None
    return {
        "rho": rho,
        "uniform_rho": uniform_rho,
        "halves_rho": spearman(*halves) if halves else None,
        "each": _interval(view_rhos(shown_VN, drop_VN, seen)),
        "regions": int(compared.sum()),
        "agree": rho is not None and rho >= max(AGREE, (uniform_rho or 0.0) + MARGIN),
    }


def gain(
    shown_VN: np.ndarray, other_VN: np.ndarray, drop_VN: np.ndarray, seen: np.ndarray
) -> dict[str, float] | None:
    """Compute by how much one map agrees better with the occlusion effect than another, view by
    view: mean difference of their rhos, with its interval; None where none is defined."""
    return _interval(view_rhos(shown_VN, drop_VN, seen) - view_rhos(other_VN, drop_VN, seen))


def view_rhos(shown_VN: np.ndarray, drop_VN: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Correlate each view's own map with its own drops: float64 [V], NaN where undefined."""
    compared = _compared(drop_VN, seen)
    pairs = zip(shown_VN[:, compared], drop_VN[:, compared], strict=True)
    found = [spearman(shown, drop) for shown, drop in pairs]
    return np.array([np.nan if rho is None else rho for rho in found])


def _compared(drop_VN: np.ndarray, seen: np.ndarray) -> np.ndarray:
    compared: np.ndarray = (seen >= SEEN) & ~np.isnan(drop_VN).any(axis=0)
    return compared


def _interval(values: np.ndarray) -> dict[str, float] | None:
    """Return the mean of the known values, and its bootstrap interval over the views."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    drawn = np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[drawn].mean(1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return {"mean": float(known.mean()), "ci_low": float(low), "ci_high": float(high)}
