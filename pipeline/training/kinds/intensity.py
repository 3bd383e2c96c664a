"""`task.kind: intensity`: how strong each action unit is, from 0 to 5 (FACS A to E are 1 to 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.training.kinds.base import mean_of_known
from arpgnet.pipeline.training.kinds.targets import ValueKind, columns
from arpgnet.pipeline.training.selection import intraclass_correlation


@dataclass
class Intensity(ValueKind):
    name = "intensity"
    pattern = r"au_\d+_intensity"

    def select(self, per_frame: bool) -> str:
        return "icc"

    def scores(self, label: np.ndarray, values: np.ndarray) -> dict[str, float]:
        found = [intraclass_correlation(*pair) for pair in columns(label, values)]
        return {"icc": mean_of_known(found)}
