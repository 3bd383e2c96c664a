"""How the values of a task are shown: names, scale, what is emphasized, and in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from arpgnet.pipeline.tables.facs import PRESENT, RANGES, SCALES, described, unit_of
from arpgnet.pipeline.tables.predictions import EXPRESSION


@dataclass(frozen=True)
class Display:
    """What overlay, page and summary show of a task.

    Attributes:
        kind: the task.
        names: of its K outputs, as the table's columns have them.
        thresholds: from which value on each counts as present, where the run has chosen that; else
            the scale says it.
    """

    kind: str
    names: Sequence[str]
    thresholds: Sequence[float] = ()

    @property
    def of_classes(self) -> bool:
        """Whether one of the outputs is the most probable."""
        return self.kind == EXPRESSION

    @property
    def title(self) -> str:
        """What is predicted, as `valence and arousal`."""
        return "facial expressions" if self.of_classes else SCALES[self.kind][0]

    @property
    def says_when(self) -> bool:
        """Whether an output is there at some times and at others not."""
        return self.of_classes or self.present is not None

    @property
    def scale(self) -> str:
        """Say in a line what the columns of values are; empty: probabilities of classes."""
        if self.of_classes:
            return ""
        notes = zip(self.names, self.limits, strict=True)
        meanings = [
            (name, " ".join(filter(None, (described(name), limit and f"({limit})"))))
            for name, limit in notes
        ]
        named = [f"{name} {meaning}" for name, meaning in meanings if meaning]
        what, scale = SCALES[self.kind]
        return f"{what}: {scale}{'; ' if named else ''}{', '.join(named)}"

    @property
    def metadata(self) -> dict[str, Any]:
        """Describe the task to a program: `kind`, `outputs`, `scale` and chosen `thresholds`."""
        thresholds = {"thresholds": list(self.thresholds)} if self.thresholds else {}
        return {"kind": self.kind, "outputs": list(self.names), "scale": self.scale, **thresholds}

    @property
    def range(self) -> tuple[float, float]:
        """The ends of the scale; curves begin at 0, which lies on it."""
        return RANGES[self.kind]

    @cached_property
    def present(self) -> list[float] | None:
        """The value from which on each output counts as present; None: none ever does."""
        if self.thresholds:
            return list(self.thresholds)
        fixed = PRESENT.get(self.kind)
        return None if fixed is None else [fixed] * len(self.names)

    @property
    def limits(self) -> list[str]:
        """Say of each output from which value on it counts as present; empty where the scale says
        it."""
        return [f"present from {one:.3f}" for one in self.thresholds] or [""] * len(self.names)

    @cached_property
    def short(self) -> list[str]:
        """`AU12` for a unit's presence or intensity; else the output's own name."""
        units = ((name, unit_of(name)) for name in self.names)
        return [f"AU{unit[0]}" if unit else name for name, unit in units]

    @cached_property
    def long(self) -> list[str]:
        """`AU12 lip corner puller`; else as `short`."""
        pairs = zip(self.short, self.names, strict=True)
        return [f"{short} {described(name)}".strip() for short, name in pairs]

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Return where values lie between the ends of the scale: 0 to 1."""
        low, high = self.range
        found: np.ndarray = (values - low) / (high - low)
        return found

    def marked(self, values: np.ndarray) -> list[int]:
        """Return which outputs are emphasized: the most probable class, the units that are present,
        or all.

        Args:
            values: float [K].
        """
        if self.of_classes:
            return [int(np.argmax(values))]
        if self.present is None:
            return list(range(len(values)))
        return np.flatnonzero(values >= np.array(self.present)).tolist()

    def number(self, value: float) -> str:
        """Format a value, with its sign where the scale has two."""
        return f"{value:+.2f}" if self.range[0] < 0 else f"{value:.2f}"

    def words(self, values: np.ndarray | None) -> str:
        """Say what is predicted: `happiness 0.80`, `AU6, AU12`, `AU12 3.10` or `valence +0.42,
        arousal -0.10`; empty if nothing is."""
        if values is None:
            return ""
        marked = self.marked(values)
        if not marked:
            return "no action unit"
        if self.kind == "action_units":
            return ", ".join(self.short[one] for one in marked)
        return ", ".join(f"{self.short[one]} {self.number(values[one])}" for one in marked)
