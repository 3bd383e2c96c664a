"""One thread per worker: a sum that is split over threads has other last bits for another number.

There is one worker per core, so that more threads would gain nothing.
"""

from __future__ import annotations

# libraries read these once, when they are first imported
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


def use_one_thread() -> None:
    """Set what does not read `ONE_THREAD`: OpenCV's threads. Call it first in a worker."""
    import cv2

    cv2.setNumThreads(1)
