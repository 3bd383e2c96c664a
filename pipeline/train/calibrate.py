"""One temperature per run, so that its probabilities are as high as it is often right.

Guo et al., ICML 2017, section 4.2: all logits are divided by a number that validation chooses. The
most probable class stays what it was.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.tables.predictions import temper

# of the temperature's logarithm: 0.05 to 20
BOUNDS = (-3.0, 3.0)
# predictions below which one of them moves the temperature more than calibration gains: on 16 clips
# of two classes the error rose from 0.04 to 0.09
FEWEST = 10


def fit_temperature(label: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature with the lowest loss; 1 for fewer than `FEWEST` predictions.

    One more unit that is of every class alike keeps it finite where all predictions are correct
    (after Platt 1999, section 2.2); of many units it changes nothing.

    Args:
        label: int [U].
        probabilities: float [U, K], NaN where there is none.
    """
    # 0.3 s, which a worker that only trains need not wait for
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(probabilities).any(axis=1)
    count, classes = int(known.sum()), probabilities.shape[1]
    if count < FEWEST:
        return 1.0
    values = probabilities[known].astype(np.float64)
    target = (count * np.eye(classes)[label[known]] + 1 / classes) / (count + 1)

    def loss(logarithm: float) -> float:
        likely = np.log(np.maximum(temper(values, np.exp(logarithm)), 1e-300))
        return float(-(target * likely).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-4})
    # a round number: what is printed is what was applied
    return round(float(np.exp(found.x)), 4)
