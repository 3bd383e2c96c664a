"""Which clips belong together: the unit that never crosses a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.tables.manifest import Clip

NOT_INDEPENDENT = (
    "the result is then not subject-independent: it says nothing about people the network has not "
    "seen"
)


def components(count: int, keys: Iterable[Sequence[Hashable | None]]) -> list[int]:
    """Join rows that share a value in any of the columns, directly or through other rows.

    Args:
        count: number of rows.
        keys: columns of `count` values each; None joins nothing.

    Returns:
        per row the number of the first row that it is joined to.
    """
    return connected(count, (pair for column in keys for pair in _sharing(column)))


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Find the connected components of `count` rows: per row the first row of its component."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for pair in pairs:
        low, high = sorted(root(row) for row in pair)
        parent[high] = low
    return [root(row) for row in range(count)]


def _sharing(column: Sequence[Hashable | None]) -> Iterator[tuple[int, int]]:
    """Pair each row with the first row of the same value."""
    first: dict[Hashable, int] = {}
    for row, key in enumerate(column):
        if key is not None and first.setdefault(key, row) != row:
            yield first[key], row


def units(
    clips: Sequence[Clip], params: DatasetParams, near_duplicates: Sequence[int | None]
) -> list[int]:
    """Number each clip's unit, which must be on one side of every split.

    `dataset.group_by` decides what a unit is; a group, identical files and clips of the same
    images are joined in any case.

    Args:
        clips: in manifest order.
        params: `group_by`.
        near_duplicates: per clip a number shared by clips of the same images, or None.

    Raises:
        UserError: a clip has no subject (or group) although it is what clips are grouped by,
            or there is a single one.
    """
    return components(len(clips), (_wanted(clips, params), *_always(clips, near_duplicates)))


def recordings(clips: Sequence[Clip], near_duplicates: Sequence[int | None]) -> dict[str, str]:
    """Find clips that are not independent of each other, whoever is in them.

    They share a group, a file or images, directly or through other clips.

    Returns:
        per `clip_id` of such a clip that of the first one it is joined to; none for other clips.
    """
    first = components(len(clips), _always(clips, near_duplicates))
    members = Counter(first)
    return {
        clip.clip_id: clips[row].clip_id
        for clip, row in zip(clips, first, strict=True)
        if members[row] > 1
    }


def _wanted(clips: Sequence[Clip], params: DatasetParams) -> list[str | None]:
    if params.group_by == "clip":
        return [None] * len(clips)
    column = params.group_by
    values = [getattr(clip, column) for clip in clips]
    without = sum(value is None for value in values)
    if without:
        count = "the clips" if without == len(clips) else plural(without, "clip")
        verb = "has" if without == 1 < len(clips) else "have"
        todo = f"add a column '{column}'"
        if params.name == "folder" and column == "subject":
            # it has no columns, and no groups either
            raise UserError(
                f"{count} have no subject: set dataset.group_by: clip ({NOT_INDEPENDENT}), or list "
                "the clips in a CSV file with a column 'subject' (dataset.name: csv)"
            )
        if without < len(clips):
            first = next(clip for clip, value in zip(clips, values, strict=True) if value is None)
            todo = (
                f"fill in the column '{column}' (first: '{first.clip_id}'; NA, nan, -1 and the "
                "like count as missing)"
            )
        raise UserError(f"{count} {verb} no {column}: {todo}{_or_else(column)}")
    if len(set(values)) == 1:
        raise UserError(
            f"all clips belong to one {column} ('{values[0]}'), which cannot be split: "
            f"add clips of other {column}s{_or_else(column)}"
        )
    return values


def _or_else(column: str) -> str:
    if column == "group":
        return ", or set dataset.group_by=clip (related clips may then be on both sides)"
    return f", or set dataset.group_by=group or dataset.group_by=clip ({NOT_INDEPENDENT})"


def _always(
    clips: Sequence[Clip], near_duplicates: Sequence[int | None]
) -> list[list[Hashable | None]]:
    return [
        [clip.group for clip in clips],
        # an unreadable file has no digest
        [clip.sha256 or None for clip in clips],
        list(near_duplicates),
    ]
