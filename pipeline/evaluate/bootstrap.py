"""Percentile bootstrap clustered by what is independent (subjects; see `units`).

Clips of one person are alike, so resampling clips would make the interval too narrow:
whole clusters are drawn with replacement (Davison and Hinkley, Bootstrap Methods
and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# resamples held in memory at once: 200 x 20,000 clusters of int64 is 32 MB
CHUNK = 200


def resample_weights(clusters: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each cluster is drawn in each resample.

    Yields:
        float64 `[chunk, clusters]`; every row sums to `clusters`; `resamples` rows in all.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = rng.integers(clusters, size=(rows, clusters))
        flat = (drawn + np.arange(rows)[:, None] * clusters).ravel()
        counts = np.bincount(flat, minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def resample_confusions(counts: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Confusion counts of every resample.

    Args:
        counts: `[clusters, ...]`, the confusion counts of each cluster's clips.

    Returns:
        float64 `[resamples, ...]`.
    """
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    parts = [weights @ flat for weights in resample_weights(len(counts), resamples, seed)]
    return np.concatenate(parts).reshape(resamples, *counts.shape[1:])


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The central `confidence` share of the resampled values, NaN left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def two_sided_p(differences: np.ndarray) -> float:
    """How surprising no difference would be, from resampled paired differences.

    Twice the smaller share of resamples on or beyond zero, each share with one added above and
    below so that it is never 0 (Davison and Hinkley 1997, section 4.2; Phipson and Smyth 2010,
    doi 10.2202/1544-6115.1585). It answers the same question as the percentile interval: p is
    about below `1 - confidence` where the interval leaves zero out.

    Args:
        differences: `[resamples]`, NaN left out.

    Returns:
        A value in 0..1; 1 where there is no difference in any resample.
    """
    known = differences[~np.isnan(differences)]
    below, above = (known <= 0).sum(), (known >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(known) + 1)))
