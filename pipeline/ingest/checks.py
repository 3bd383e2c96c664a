"""Refuse what would invalidate a result: leaks between splits, classes without clips."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Literal

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import joined, plural
from arpgnet.pipeline.datasets.frame_names import classes_shown
from arpgnet.pipeline.datasets.groups import components
from arpgnet.pipeline.tables.manifest import OK, Clip

# the side of a clip that a fold does not use
OUT = "out"


def check_leaks(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
) -> None:
    """Refuse splits that share a file, images, a group or (`group_by: subject`) a subject.

    Raises:
        UserError: names two clips, what they share and their splits.
    """
    for what, keys in _shareable(clips, params, near_duplicates):
        for number, sides in enumerate(folds):
            pairs = list(_crossing(keys, sides))
            if pairs:
                a, b = pairs[0]
                where = f" of fold {number}" if len(folds) > 1 else ""
                more = f"; {len(pairs)} such pairs in total" if len(pairs) > 1 else ""
                raise UserError(
                    f"clips '{clips[a].clip_id}' and '{clips[b].clip_id}' {what} but are in "
                    f"{sides[a]} and {sides[b]}{where}{more}: {_remedy(what, params)}"
                )


def drop_leaks(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
) -> tuple[list[list[str]], list[str]]:
    """Apply `dataset.leaks: drop`: no copy of a test clip is used for training or validation, and
    no copy of a validation clip for training. The test parts stay as provided.

    Returns:
        the sides, `OUT` where a clip is removed from a fold; and a remark with the count.
    """
    parted = [list(sides) for sides in folds]
    for _, keys in _shareable(clips, params, near_duplicates):
        for sides in parted:
            for held, others in (("test", ("train", "val")), ("val", ("train",))):
                there = {key for key, side in zip(keys, sides, strict=True) if side == held}
                for row, key in enumerate(keys):
                    if key is not None and key in there and sides[row] in others:
                        sides[row] = OUT
    removed = sum(any(sides[row] == OUT for sides in parted) for row in range(len(clips)))
    if not removed:
        return parted, []
    return parted, [
        f"{plural(removed, 'clip')} removed from training because a test or validation part "
        "contains the same (dataset.leaks: drop)"
    ]


def _shareable(
    clips: Sequence[Clip], params: DatasetParams, near_duplicates: Sequence[int | None]
) -> list[tuple[str, Sequence[Hashable | None]]]:
    """List what no two sides of a split may share: in words, and its value for each clip."""
    columns: list[tuple[str, Sequence[Hashable | None]]] = [
        ("are the same file", [clip.sha256 or None for clip in clips]),
        ("are near-duplicates", near_duplicates),
        ("belong to the same group", [clip.group for clip in clips]),
    ]
    if params.group_by == "subject":
        columns.append(("show the same subject", [clip.subject for clip in clips]))
    return columns


def _crossing(keys: Sequence[Hashable | None], sides: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield rows on another side than the first row of the same key, with that row."""
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key is None or sides[row] == OUT:
            continue
        if sides[first.setdefault(key, row)] != sides[row]:
            yield first[key], row


def _remedy(what: str, params: DatasetParams) -> str:
    if what == "show the same subject":
        return (
            "put each subject on one side, or set dataset.group_by=group or clip (the result is "
            "then not subject-independent)"
        )
    return (
        "put them on one side, remove one of them, drop the split and fold columns, or set "
        "dataset.leaks=drop (keeps the test copy, removes the others from training)"
    )


def check_classes(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    classes: Sequence[str],
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
    shown: Sequence[frozenset[str]] | None = None,
) -> None:
    """Refuse a fold that cannot learn a class, and folds that never test one.

    Clips that cannot be read are not counted for train; in test they count as wrong, so they are
    counted there.

    Args:
        shown: per clip the classes that it shows; its label if left out.

    Raises:
        UserError: names all such classes, a fold of each, and what to do.
    """
    shown = classes_shown(clips) if shown is None else shown
    tested: set[str] = set()
    unlearned: dict[str, int] = {}  # the first fold that cannot learn a class
    for number, sides in enumerate(folds):
        learned: set[str] = set()
        for clip, side, names in zip(clips, sides, shown, strict=True):
            if side == "test":
                tested |= names
            elif side == "train" and clip.status == OK:
                learned |= names
        unlearned |= {name: number for name in classes if name not in {*learned, *unlearned}}

    def why(name: str) -> str:
        return f"({_spread(clips, name, params, near_duplicates, shown)})"

    untested = [name for name in classes if name not in tested]
    faults = []
    if unlearned:
        folded = [
            f"fold {number} has no training clip of class '{name}' {why(name)}"
            for name, number in unlearned.items()
        ]
        excluded, more = ", ".join(unlearned), _more("train", params)
        faults.append(f"{joined(folded)}; set dataset.exclude=[{excluded}], {more}")
    if untested:
        never = [f"no clip of class '{name}' is in any test part {why(name)}" for name in untested]
        excluded, more = ", ".join(untested), _more("test", params)
        faults.append(f"{joined(never)}; set dataset.exclude=[{excluded}], {more}")
    if faults:
        raise UserError("; ".join(faults))


def _more(side: Literal["train", "test"], params: DatasetParams) -> str:
    """Say how a class gets clips on a side; another seed helps only where it draws the split."""
    if params.name == "cross":
        return f"or add a data set that has it to dataset.{side}_on"
    if side == "train":
        return "choose fewer folds, or add clips"
    if params.protocol == "official":
        return "put clips of it into the test part, or set protocol kfold"
    return "another dataset.seed, or protocol kfold"


def _spread(
    clips: Sequence[Clip],
    name: str,
    params: DatasetParams,
    near_duplicates: Sequence[int | None],
    shown: Sequence[frozenset[str]],
) -> str:
    """Say how many readable clips a class has, and how many groups they form."""
    subject = [clip.subject if params.group_by == "subject" else None for clip in clips]
    columns = (subject, [clip.group for clip in clips], [clip.sha256 or None for clip in clips])
    unit = components(len(clips), (*columns, near_duplicates))
    rows = [row for row, clip in enumerate(clips) if name in shown[row] and clip.status == OK]
    groups = len({unit[row] for row in rows})
    if groups == 1:
        together = f"{plural(groups, 'group')} that cannot be split"
    else:
        together = f"{plural(groups, 'group')}, each of which stays on one side"
    return f"it has {plural(len(rows), 'readable clip')} in {together}"
