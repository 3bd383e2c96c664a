"""What scores are called, and which of several decides."""

from __future__ import annotations

from collections.abc import Iterable

SCORE_NAMES = {
    "uar": "UAR",
    "war": "WAR",
    "macro_f1": "macro-F1",
    "f1": "mean F1",
    "icc": "mean ICC(3,1)",
    "mae": "mean MAE",
    "ccc": "mean CCC",
    "rmse": "mean RMSE",
}
# of each task one, higher is better
DECIDING = ("uar", "f1", "icc", "ccc")


def deciding(scores: Iterable[str]) -> str:
    """Return the score by which two runs are said to be better or worse."""
    known = set(scores)
    return next(name for name in DECIDING if name in known)
