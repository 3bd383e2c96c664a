"""How long the window is that smooths a run's frame predictions: validation chooses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.predictions import Units
from arpgnet.pipeline.tables.smoothing import smoothed
from arpgnet.pipeline.train.folds import Fold, Part
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.tasks import Task

# odd numbers of video frames: up to 1.7 s at 30 frames per second. Ours: EMAE's authors say that
# they smooth, and not how long their window is
LENGTHS = (1, 5, 11, 21, 31, 51)
Setting = int | Literal["auto"]


@dataclass(frozen=True)
class Smoothing:
    """A run's window: its `length` in video frames, and the validation score (`select`, the one
    that also chose the epoch) with it and without."""

    length: int
    select: str
    score: float
    before: float


def choose_smoothing(
    setting: Setting, units: Units, values: np.ndarray, kind: Kind, select: str
) -> Smoothing:
    """Return the window of a run; `auto`: of `LENGTHS` the best one, of equal ones the shortest.

    Args:
        units, values: of the run's validation part, U frames, and [U, K].
        select: the score, one of the task's.
    """
    lengths = LENGTHS if setting == "auto" else (1, setting)
    found = {
        length: kind.scores(units.label, _smoothed(units, values, length, kind))[select]
        for length in lengths
    }
    # the first of equal ones
    length = max(found, key=lambda one: found[one]) if setting == "auto" else setting
    # round numbers: a run's file is the same on machines whose last digits differ
    return Smoothing(length, select, round(found[length], 6), round(found[1], 6))


def _smoothed(units: Units, values: np.ndarray, length: int, kind: Kind) -> np.ndarray:
    assert units.frame_index is not None
    return smoothed(values, units.clip_id, units.frame_index, length, kind.name)


@dataclass
class Smoothings:
    """The windows of all runs, by fold and seed.

    Args:
        setting: `evaluate.smooth`.

    Raises:
        UserError: it is on, and clips are labeled: there are no neighbors in time.
    """

    setting: Setting
    task: Task
    _chosen: dict[tuple[int, int], Smoothing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.setting != 1 and self.task.name != "frame":
            raise UserError(
                f"evaluate.smooth: {self.setting} smooths the predictions of frames, but this data "
                "has labels of clips: set it to 1"
            )

    def choose(self, fold: Fold, seed: int, values: np.ndarray) -> dict[str, Any]:
        """Choose a run's window by its predictions of the validation part; return what its file
        says of that, under `smoothing`; nothing where there is none."""
        if self.setting == 1:
            return {}
        units, kind = self.task.units(fold.val), self.task.dataset.kind
        found = choose_smoothing(self.setting, units, values, kind, self.task.select)
        self._chosen[fold.number, seed] = found
        return {"smoothing": asdict(found)}

    def apply(self, fold: Fold, seed: int, part: Part, values: np.ndarray) -> np.ndarray:
        """Smooth predictions of a part's units, those of the run or of a baseline, by the run's
        window."""
        if self.setting == 1:
            return values
        units, kind = self.task.units(fold.clips(part)), self.task.dataset.kind
        return _smoothed(units, values, self._chosen[fold.number, seed].length, kind)
