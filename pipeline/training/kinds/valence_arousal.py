"""`task.kind: valence_arousal`: how pleasant and how excited an expression is, from -1 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.training.kinds.base import mean_of_known
from arpgnet.pipeline.training.kinds.targets import ValueKind, columns
from arpgnet.pipeline.training.selection import concordance


@dataclass
class ValenceArousal(ValueKind):
    name = "valence_arousal"
    pattern = "valence|arousal"

    def select(self, per_frame: bool) -> str:
        return "ccc"

    def scores(self, label: np.ndarray, values: np.ndarray) -> dict[str, float]:
        return {"ccc": mean_of_known([concordance(*pair) for pair in columns(label, values)])}
