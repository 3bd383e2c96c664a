"""What is written of the further tasks (`task.also`): predictions of the network and of baselines,
in the form of the main task's, a file for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.predictions import NETWORK, further_path, write_predictions
from arpgnet.pipeline.train.folds import Fold, Part, annotated, check_fold
from arpgnet.pipeline.train.tables import Tables
from arpgnet.pipeline.train.training import Outcome, Planned
from arpgnet.pipeline.training.tasks import Task


@dataclass
class FurtherTables:
    """The rows of a further task, gathered run by run."""

    tables: Tables
    rows: list[pa.Table] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.tables.dataset.kind.name

    def fold(self, fold: Fold) -> Fold:
        """Return what of a fold this task has labels of."""
        known = self.tables.labels.of_clip
        lost = [clip for clip in fold.lost if clip in known]
        return replace(annotated(fold, self.tables.task), lost=lost)

    def check(self, folds: Sequence[Fold], main: Task) -> None:
        """Refuse folds as `check_fold`.

        Raises:
            UserError: one of them cannot be trained or tested; the line names the task.
        """
        # those of the other units, clips or frames, have views of their own
        shown = main if main.name == self.tables.task.name else None
        for fold in folds:
            try:
                check_fold(self.fold(fold), self.tables.task, shown)
            except UserError as error:
                raise UserError(f"task.also: {self.name}: {error}") from None

    def add(self, planned: Planned, outcome: Outcome) -> None:
        """Add the predictions of a finished run."""
        fold = self.fold(planned.fold)
        parts: tuple[Part, ...] = ("val", "test")
        for part in parts:
            values = outcome.further[f"{self.name}/{part}"]
            self.rows += self.tables.rows(fold, planned.seed, part, NETWORK, values)

    def write(self, baselines: Sequence[pa.Table], root: Path) -> None:
        """Write the table, with the rows of the baselines after those of the network."""
        kind = self.tables.dataset.kind
        write_predictions(
            [*self.rows, *baselines], kind.outputs, root / further_path(kind.name), kind.name
        )
