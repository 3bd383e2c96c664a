"""One temperature per run, so that its probabilities are as high as it is often right.

Guo et al., ICML 2017, section 4.2: all logits are divided by a number that validation chooses. The
most probable class stays what it was.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.tables.predictions import temper

# of the temperature's logarithm: 0.05 to 20
BOUNDS = (-3.0, 3.0)
# standard deviation of the logarithm before any prediction is seen: of 0.25, 0.5, 1 and none, what
# gives validation subjects whose predictions were not fitted the lowest calibration error and loss
# together (docs/training.md)
PRIOR = 0.5
# predictions below which one of them moves the temperature more than calibration gains: on 16 clips
# of two classes the error rose from 0.04 to 0.09
FEWEST = 10


def fit_temperature(label: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the most probable temperature; 1 for fewer than `FEWEST` predictions.

    Its logarithm has a normal prior around 0, which keeps it finite where all predictions are
    correct; of many units it changes nothing.

    Args:
        label: int [U].
        probabilities: float [U, K], NaN where there is none.
    """
    # 0.3 s, which a worker that only trains need not wait for
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(probabilities).any(axis=1)
    count = int(known.sum())
    if count < FEWEST:
        return 1.0
    values, right = probabilities[known].astype(np.float64), label[known]

    def loss(logarithm: float) -> float:
        likely = temper(values, np.exp(logarithm))[np.arange(count), right]
        surprise = -np.log(np.maximum(likely, 1e-300)).sum()
        return float(surprise + 0.5 * (logarithm / PRIOR) ** 2)

    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-4})
    # a round number: what is printed is what was applied
    return round(float(np.exp(found.x)), 4)
