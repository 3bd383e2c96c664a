"""Pair two runs on the same clips, or refuse with the difference."""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.tables.predictions import EXPRESSION, Predictions, Rows, TargetPredictions

Key = tuple[str, int]  # clip_id, frame_index (-1: the whole clip)
Table = Predictions | TargetPredictions


def keys(rows: Rows) -> list[Key]:
    """Return the clip and frame of each row."""
    return list(zip(rows.clip_id, rows.frame_index.tolist(), strict=True))


def paired(a: Side, b: Side, *, common: bool) -> tuple[Table, Table, int]:
    """Select both sides' rows of the clips that every seed of both has tested.

    Args:
        common: leave out what only one side has, instead of refusing.

    Returns:
        The rows of A, those of B, and how many clips (or frames) were left out.

    Raises:
        UserError: tasks, classes, labels or (without `common`) clips are not the same.
    """
    (kind_a, names_a), (kind_b, names_b) = a.test.task, b.test.task
    if kind_a != kind_b:
        raise UserError(f"different tasks: task.kind: {kind_a} in {a.name}, {kind_b} in {b.name}")
    if names_a != names_b:
        what = "classes" if kind_a == EXPRESSION else "targets"
        raise UserError(
            f"different {what}: {', '.join(names_a)} in {a.name}; {', '.join(names_b)} in {b.name}"
        )
    labels_a, labels_b = _labels(a), _labels(b)
    shared = labels_a.keys() & labels_b.keys()
    unlike = [key for key in shared if labels_a[key] != labels_b[key]]
    if unlike:
        raise UserError(
            f"{len(unlike)} of {plural(len(shared), 'test clip')} have another label in {b.name} "
            f"than in {a.name} (first: {min(unlike)[0]}): not the same task"
        )
    left_out = len(labels_a.keys() ^ labels_b.keys())
    if not shared:
        raise UserError(f"{a.name} and {b.name} have no test clip in common")
    if left_out and not common:
        raise UserError(
            f"different test clips: {len(labels_a) - len(shared)} only in {a.name}, "
            f"{len(labels_b) - len(shared)} only in {b.name}, {len(shared)} in both; "
            "use --common to compare on those"
        )
    rows_a, rows_b = (
        side.test.select(np.array([key in shared for key in keys(side.test)])) for side in (a, b)
    )
    return rows_a, rows_b, left_out


def _labels(side: Side) -> dict[Key, bytes]:
    """Map everything that each seed tests once to its true class or target values."""
    rows: Rows = side.test
    found: dict[Key, bytes] = {}
    for seed in sorted(set(rows.seed.tolist())):
        one = rows.select(rows.seed == seed)
        # not annotated is NaN, which equals itself as bytes alone
        labels = dict(zip(keys(one), (value.tobytes() for value in one.truth), strict=True))
        if len(labels) < len(one.truth):
            raise UserError(f"{side.name}: a clip is tested in several folds: cannot be paired")
        if found and labels.keys() != found.keys():
            raise UserError(f"{side.name}: its seeds have tested different clips")
        found = labels
    return found
