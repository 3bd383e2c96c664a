"""Which clips a run uses, and on which side of each fold: what ingest writes, checked.

`ingest` and its dry run (`arpgnet data check`) go through these functions, so that both refuse the
same, with the same line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import About, ListedClip, Listing
from arpgnet.pipeline.datasets.clip_targets import target_table, unannotated
from arpgnet.pipeline.datasets.corpora import resolve_params
from arpgnet.pipeline.datasets.file_cache import FileCache, near_duplicates_of
from arpgnet.pipeline.datasets.frame_names import FrameNames, classes_shown
from arpgnet.pipeline.datasets.media import FileMetadata, Media
from arpgnet.pipeline.ingest.checks import check_classes, check_leaks, drop_leaks
from arpgnet.pipeline.ingest.classes import choose_classes, map_classes
from arpgnet.pipeline.ingest.notes import other_lengths, other_target_lengths
from arpgnet.pipeline.ingest.rows import clip_ids, manifest_rows
from arpgnet.pipeline.ingest.splits import assign_splits
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.tables.manifest import OK, Clip
from arpgnet.pipeline.tables.targets import TargetTable


@dataclass(frozen=True)
class Choice:
    """The used clips and classes, before any file is opened; `params` without `auto`."""

    params: DatasetParams
    listing: Listing
    clips: list[ListedClip]
    classes: list[str]
    excluded: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """The rows of the manifest, and the side of each in each fold."""

    clips: list[Clip]
    frames: dict[str, FrameNames]
    near_duplicates: list[int | None]
    folds: Sequence[Sequence[str]]
    targets: TargetTable
    remarks: list[str]


def choose(listing: Listing, params: DatasetParams, about: About) -> Choice:
    """Apply `dataset.map`, `classes` and `exclude` to a listing.

    Raises:
        UserError: see `map_classes` and `choose_classes`.
    """
    params = resolve_params(params, about, listing.clips)
    mapped = map_classes(listing.clips, params)
    classes, excluded = choose_classes(mapped.clips, params, about.classes)
    listed = [clip for clip in mapped.clips if is_used(clip, classes)]
    left_out = {**listing.left_out, **mapped.left_out}
    blank = sum(clip.frames is not None for clip in mapped.clips) - sum(
        clip.frames is not None for clip in listed
    )
    if blank:
        left_out["videos without a frame of a used class"] = blank
    return Choice(params, listing, listed, classes, excluded, left_out)


def is_used(clip: ListedClip, classes: Sequence[str]) -> bool:
    """Check whether a clip has a used class; of one without any class, whether it has targets."""
    return not clip.classes.isdisjoint(classes) or (not clip.classes and bool(clip.targets))


def divide(
    chosen: Choice,
    media: Sequence[Media],
    metadata: Mapping[Media, FileMetadata],
    cache: FileCache,
    workers: int,
    limits: Limits | None,
) -> Plan:
    """Build the rows, divide them into folds, and check both.

    Args:
        media: per chosen clip its file.
        cache: has described the files.

    Raises:
        UserError: no file can be used, or the splits; see `assign_splits`, `check_leaks` and
            `check_classes`.
    """
    params, listed = chosen.params, chosen.clips
    clips, frames, files = manifest_rows(listed, media, metadata, chosen.classes)
    usable = {files[clip.clip_id]: None for clip in clips if clip.status == OK}
    same = near_duplicates_of({one: metadata[one] for one in usable}, cache, workers, limits)
    near_duplicates = [same.get(files[clip.clip_id]) for clip in clips]
    shown = classes_shown(clips, frames)
    splits = assign_splits(clips, params, near_duplicates, shown)
    folds, dropped = (
        drop_leaks(clips, splits.folds, params, near_duplicates)
        if params.leaks == "drop"
        else (splits.folds, [])
    )
    check_leaks(clips, folds, params, near_duplicates)
    check_classes(clips, folds, chosen.classes, params, near_duplicates, shown)
    targets = target_table(
        {name: clip.targets for name, clip in sorted(zip(clip_ids(listed), listed, strict=True))}
        if any(clip.targets for clip in listed)
        else {}
    )
    remarks = [
        *splits.remarks,
        *dropped,
        *other_lengths(clips, frames),
        *other_target_lengths(clips, targets),
        *unannotated(targets),
    ]
    return Plan(clips, frames, near_duplicates, folds, targets, remarks)
