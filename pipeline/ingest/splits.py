"""Protocols: which clip trains, validates and tests in which fold."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.frame_names import classes_shown
from arpgnet.pipeline.datasets.groups import units
from arpgnet.pipeline.tables.manifest import OK, Clip

UNCHECKED = "subjects are unknown, so one person may be on two sides of a split"


@dataclass(frozen=True)
class Splits:
    """`folds[f][i]` is train, val or test for clip i; `remarks` are for the reader."""

    folds: list[list[str]]
    remarks: list[str]


def assign_splits(
    clips: Sequence[Clip],
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
    shown: Sequence[frozenset[str]] | None = None,
) -> Splits:
    """Divide the clips by `dataset.protocol`; see the functions below.

    A `split` column (holdout, official) or `fold` column (kfold) is used as it is. Splits made here
    never separate a unit of `groups.units`, and depend only on the arguments.

    Args:
        clips: in manifest order, labels set.
        params: `protocol`, `group_by`, `folds`, `test_fraction`, `val_fraction`, `seed`.
        near_duplicates: per clip a number shared by clips of the same images, or None.
        shown: per clip the classes that it shows; its label if left out.

    Raises:
        UserError: the columns or the number of groups do not allow the protocol.
    """
    shown = classes_shown(clips) if shown is None else shown
    has_split = any(clip.split for clip in clips)
    if params.protocol == "official" or (params.protocol == "holdout" and has_split):
        return _provided_splits(clips, params, near_duplicates, shown)
    if params.protocol == "kfold" and any(clip.fold is not None for clip in clips):
        folds, remarks = _provided_folds(clips, params)
    else:
        folds, remarks = _made_folds(clips, params, near_duplicates)
    unit = units(clips, params, near_duplicates)
    carved = [
        _carve(sides, clips, unit, params, shown, f" of fold {f}") for f, sides in enumerate(folds)
    ]
    return Splits(carved, remarks)


def _provided_splits(
    clips: Sequence[Clip],
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
    shown: Sequence[frozenset[str]],
) -> Splits:
    """Use the `split` column: without val, carve it from train; without test, val becomes test."""
    missing = [clip for clip in clips if clip.split is None]
    if len(missing) == len(clips):
        raise UserError(
            "dataset.protocol: official needs a column 'split' (or folders train, val, test); "
            "without one, choose kfold, loso or holdout"
        )
    if missing:
        raise UserError(
            f"{plural(len(missing), 'clip')} without a split, first: '{missing[0].clip_id}'; "
            "every row needs one of train, val, test"
        )
    sides = [clip.split or "" for clip in clips]
    if "train" not in sides:
        raise UserError("the column 'split' has no train")
    if "test" in sides and "val" in sides:
        unknown = params.group_by == "subject" and all(clip.subject is None for clip in clips)
        return Splits([sides], [UNCHECKED] if unknown else [])
    remarks = []
    if "test" not in sides:
        if "val" not in sides:
            raise UserError("the column 'split' has neither test nor val: nothing to test on")
        sides = ["test" if side == "val" else side for side in sides]
        remarks.append("no test split is provided: the provided val is used as the test split")
    remarks.append(f"a fraction of {params.val_fraction:g} of the provided train is used as val")
    return Splits(
        [_carve(sides, clips, units(clips, params, near_duplicates), params, shown)], remarks
    )


def _provided_folds(
    clips: Sequence[Clip], params: DatasetParams
) -> tuple[list[list[str]], list[str]]:
    """Use the `fold` column, its values renumbered in order from 0."""
    missing = [clip for clip in clips if clip.fold is None]
    if missing:
        raise UserError(
            f"{plural(len(missing), 'clip')} without a fold, first: '{missing[0].clip_id}'; "
            "set it in every row, or in none"
        )
    numbers = sorted({clip.fold for clip in clips if clip.fold is not None})
    if len(numbers) < 2:
        raise UserError(f"the column 'fold' has one value ({numbers[0]}); at least two are needed")
    remarks = [f"{len(numbers)} folds from the column 'fold'"]
    return [_sides(clip.fold == number for clip in clips) for number in numbers], remarks


def _made_folds(
    clips: Sequence[Clip], params: DatasetParams, near_duplicates: Sequence[int | None]
) -> tuple[list[list[str]], list[str]]:
    """Split by holdout, kfold (both stratified by class) or loso over the units."""
    unit = units(clips, params, near_duplicates)
    names = sorted(set(unit))
    if params.protocol == "loso":
        if params.group_by == "clip":
            raise UserError("dataset.protocol: loso needs dataset.group_by: subject or group")
        remarks = []
        subjects = len({clip.subject for clip in clips})
        if params.group_by == "subject" and len(names) < subjects:
            remarks.append(
                f"{plural(subjects, 'subject')}, but only {plural(len(names), 'fold')}: some "
                "subjects share a group or near-duplicates"
            )
        _enough(2, clips, unit, params, "loso")
        return [_sides(u == name for u in unit) for name in names], remarks
    if params.protocol == "holdout":
        count = max(2, round(1 / params.test_fraction))
        _enough(count, clips, unit, params, f"dataset.test_fraction: {params.test_fraction:g}")
        tests = _stratified(clips, unit, range(len(clips)), count, params.seed)[:1]
    else:
        count = int(params.folds)
        _enough(count, clips, unit, params, f"dataset.folds: {params.folds}")
        tests = _stratified(clips, unit, range(len(clips)), count, params.seed)
    return [_sides(row in test for row in range(len(clips))) for test in tests], []


def _sides(in_test: Iterable[bool]) -> list[str]:
    return ["test" if test else "train" for test in in_test]


def _enough(
    wanted: int, clips: Sequence[Clip], unit: Sequence[int], params: DatasetParams, setting: str
) -> None:
    found = len(set(unit))
    if found < wanted:
        raise UserError(
            f"{setting} needs at least {plural(wanted, params.group_by)}, but there are only "
            f"{found}{_joined(clips, found, params)}: choose fewer folds or add clips"
        )


def _joined(clips: Sequence[Clip], found: int, params: DatasetParams) -> str:
    """Say why clips with more subjects (or groups, clips) than that count as so few, if they do."""
    by = params.group_by
    named = len(clips) if by == "clip" else len({getattr(clip, by) for clip in clips})
    if named == found:
        return ""
    shared = "files or images" if by == "group" else "groups, files or images"
    return (
        f", because some of the {plural(named, by)} share {shared} and stay together "
        "(`arpgnet data check` lists near-duplicates)"
    )


def _carve(
    sides: list[str],
    clips: Sequence[Clip],
    unit: Sequence[int],
    params: DatasetParams,
    shown: Sequence[frozenset[str]],
    fold: str = "",
) -> list[str]:
    """Turn `dataset.val_fraction` of the training units into validation.

    Takes the stratified candidate that leaves the most classes in train, and among those the one
    with the most classes in val, the first in case of a tie.
    """
    rows = [row for row, side in enumerate(sides) if side == "train"]
    groups = {unit[row] for row in rows}
    if len(groups) < 2:
        raise UserError(
            f"the training part{fold} has only {plural(len(groups), params.group_by)}"
            f"{_joined([clips[row] for row in rows], len(groups), params)}, which "
            f"leaves none for validation; add clips{_of_others(params.group_by)}"
        )
    most = max(Counter(clips[row].label for row in rows).values())
    count = max(2, min(round(1 / params.val_fraction), len(groups), most))

    def classes_left(candidate: set[int]) -> tuple[int, int]:
        readable = [row for row in rows if clips[row].status == OK]
        left = frozenset().union(*(shown[row] for row in readable if row not in candidate))
        held = frozenset().union(*(shown[row] for row in readable if row in candidate))
        return len(left), len(held)

    candidates = _stratified(clips, unit, rows, count, params.seed)
    val = max((candidate for candidate in candidates if candidate), key=classes_left)
    return ["val" if row in val else side for row, side in enumerate(sides)]


def _stratified(
    clips: Sequence[Clip], unit: Sequence[int], rows: Sequence[int], count: int, seed: int
) -> list[set[int]]:
    """Divide rows into `count` parts of similar class distribution without splitting a unit."""
    from sklearn.model_selection import StratifiedGroupKFold

    # a video with labeled frames has no class of its own: the empty one stands for it
    labels = [clips[row].label or "" for row in rows]
    most = max(Counter(labels).values())
    if most < count:
        raise UserError(
            f"{count} parts are requested, but no class has more than {plural(most, 'clip')}: "
            "choose fewer folds or a larger dataset.test_fraction or dataset.val_fraction"
        )
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class with fewer clips than parts: checks.py decides whether that is a problem
        warnings.filterwarnings("ignore", category=UserWarning)
        parts = list(splitter.split(labels, labels, [unit[row] for row in rows]))
    return [{rows[int(i)] for i in test} for _, test in parts]


def _of_others(unit: str) -> str:
    return "" if unit == "clip" else f" of other {unit}s"
