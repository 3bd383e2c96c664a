"""What would make a result untrue is refused: leaks between splits, classes without clips."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.frame_names import classes_shown
from arpgnet.pipeline.datasets.groups import components
from arpgnet.pipeline.tables.manifest import OK, Clip

# the side of a clip that a fold does not use
OUT = "out"


def check_leaks(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    params: DatasetParams,
    twins: Sequence[int | None],
) -> None:
    """Refuse splits that share a file, images, a group or (`group_by: subject`) a subject.

    Raises:
        UserError: names two clips, what they share and where they stand.
    """
    for what, keys in _shareable(clips, params, twins):
        for number, sides in enumerate(folds):
            pairs = list(_crossing(keys, sides))
            if pairs:
                a, b = pairs[0]
                where = f" of fold {number}" if len(folds) > 1 else ""
                more = f"; {len(pairs)} such pairs in all" if len(pairs) > 1 else ""
                raise UserError(
                    f"clips '{clips[a].clip_id}' and '{clips[b].clip_id}' {what} but stand in "
                    f"{sides[a]} and {sides[b]}{where}{more}: {_remedy(what, params)}"
                )


def drop_leaks(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    params: DatasetParams,
    twins: Sequence[int | None],
) -> tuple[list[list[str]], list[str]]:
    """`dataset.leaks: drop`: what is tested is neither trained on nor validated with, in any copy,
    and what validates is not trained on. The test parts stay as they are given.

    Returns:
        the sides, `OUT` where a clip is taken out of a fold; and a remark with the count.
    """
    parted = [list(sides) for sides in folds]
    for _, keys in _shareable(clips, params, twins):
        for sides in parted:
            for held, others in (("test", ("train", "val")), ("val", ("train",))):
                there = {key for key, side in zip(keys, sides, strict=True) if side == held}
                for row, key in enumerate(keys):
                    if key is not None and key in there and sides[row] in others:
                        sides[row] = OUT
    out = sum(any(sides[row] == OUT for sides in parted) for row in range(len(clips)))
    if not out:
        return parted, []
    return parted, [
        f"{out} clips that a test or validation part shows too are not trained on there "
        "(dataset.leaks: drop)"
    ]


def _shareable(
    clips: Sequence[Clip], params: DatasetParams, twins: Sequence[int | None]
) -> list[tuple[str, Sequence[Hashable | None]]]:
    """What no two sides of a split may share: in words, and its value for each clip."""
    columns: list[tuple[str, Sequence[Hashable | None]]] = [
        ("are the same file", [clip.sha256 or None for clip in clips]),
        ("show the same images", twins),
        ("are of one group", [clip.group for clip in clips]),
    ]
    if params.group_by == "subject":
        columns.append(("are of one subject", [clip.subject for clip in clips]))
    return columns


def _crossing(keys: Sequence[Hashable | None], sides: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Rows of one key on another side than the first row of that key, with that row."""
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key is None or sides[row] == OUT:
            continue
        if sides[first.setdefault(key, row)] != sides[row]:
            yield first[key], row


def _remedy(what: str, params: DatasetParams) -> str:
    if what == "are of one subject":
        return (
            "put each subject on one side, or set dataset.group_by=group or clip (the result is "
            "then not subject-disjoint)"
        )
    return (
        "put them on one side, leave one of them out, drop the split and fold columns, or set "
        "dataset.leaks=drop (the copy that is tested stays, the others are not trained on)"
    )


def check_classes(
    clips: Sequence[Clip],
    folds: Sequence[Sequence[str]],
    classes: Sequence[str],
    params: DatasetParams,
    twins: Sequence[int | None],
    shown: Sequence[frozenset[str]] | None = None,
) -> None:
    """Refuse a fold that cannot learn a class, and folds that never test one.

    Clips that cannot be read teach nothing and are not counted for train; in test they count
    as wrong answers, so they are counted there.

    Args:
        shown: per clip the classes that it shows; its label if left out.

    Raises:
        UserError: names the fold and the class, and what to do.
    """
    shown = classes_shown(clips) if shown is None else shown
    tested: set[str] = set()
    for number, sides in enumerate(folds):
        learnt: set[str] = set()
        for clip, side, names in zip(clips, sides, shown, strict=True):
            if side == "test":
                tested |= names
            elif side == "train" and clip.status == OK:
                learnt |= names
        for name in classes:
            if name not in learnt:
                raise UserError(
                    f"fold {number} has no clip of class '{name}' to train on "
                    f"({_spread(clips, name, params, twins, shown)}); set "
                    f"dataset.exclude=[{name}], choose fewer folds, or add clips"
                )
    for name in classes:
        if name not in tested:
            raise UserError(
                f"no clip of class '{name}' is in any test part "
                f"({_spread(clips, name, params, twins, shown)}); set dataset.exclude=[{name}], "
                "another dataset.seed, or protocol kfold"
            )


def _spread(
    clips: Sequence[Clip],
    name: str,
    params: DatasetParams,
    twins: Sequence[int | None],
    shown: Sequence[frozenset[str]],
) -> str:
    """How many readable clips per class has, and how many units they form."""
    subject = [clip.subject if params.group_by == "subject" else None for clip in clips]
    columns = (subject, [clip.group for clip in clips], [clip.sha256 or None for clip in clips])
    unit = components(len(clips), (*columns, twins))
    rows = [row for row, clip in enumerate(clips) if name in shown[row] and clip.status == OK]
    groups = len({unit[row] for row in rows})
    return f"its {len(rows)} readable clips form {groups} groups that stay together"
