"""Pair two runs on the same clips, or refuse with the difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.tables.predictions import Predictions, TargetPredictions

Key = tuple[str, int]  # clip_id, frame_index (-1: the whole clip)


def keys(rows: Predictions | TargetPredictions) -> list[Key]:
    """Return the clip and frame of each row."""
    return list(zip(rows.clip_id, rows.frame_index.tolist(), strict=True))


def paired(a: Side, b: Side, *, common: bool) -> tuple[Side, Side, int]:
    """Select both sides' rows of the clips that every seed of both has tested.

    Args:
        common: leave out what only one side has, instead of refusing.

    Returns:
        A and B with those rows, and how many clips (or frames) were left out.

    Raises:
        UserError: task, classes, labels or (without `common`) clips are not the same.
    """
    if a.kind != b.kind:
        raise UserError(
            f"different tasks: {a.name} is of task.kind: {a.kind}, {b.name} of {b.kind}"
        )
    if a.outputs != b.outputs:
        what = "classes" if isinstance(a.test, Predictions) else "targets"
        raise UserError(
            f"different {what}: {', '.join(a.outputs)} in {a.name}; "
            f"{', '.join(b.outputs)} in {b.name}"
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
    one, other = (
        replace(side, test=side.test.select(np.array([key in shared for key in keys(side.test)])))
        for side in (a, b)
    )
    return one, other, left_out


def _labels(side: Side) -> dict[Key, Any]:
    """Map everything that each seed tests once to its true class, or its target values."""
    rows = side.test
    found: dict[Key, Any] = {}
    for seed in sorted(set(rows.seed.tolist())):
        one = rows.select(rows.seed == seed)
        labels = dict(zip(keys(one), _truth(one), strict=True))
        if len(labels) < len(one.clip_id):
            raise UserError(f"{side.name}: a clip is tested in several folds: cannot be paired")
        if found and labels.keys() != found.keys():
            raise UserError(f"{side.name}: its seeds have tested different clips")
        found = labels
    return found


def _truth(rows: Predictions | TargetPredictions) -> list[Any]:
    """Return what rows are equal in if they have the same label; NaN is equal to NaN."""
    if isinstance(rows, Predictions):
        return list(rows.label.tolist())
    # no annotated value is as low
    return [row.tobytes() for row in np.nan_to_num(rows.target, nan=-1e9)]
