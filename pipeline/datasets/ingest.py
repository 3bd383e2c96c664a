"""From a data set's folder to the manifest and the splits."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.clips import (
    FRAME_LABELS,
    MANIFEST,
    OK,
    QUARANTINED,
    SPLITS,
    SPLITS_SCHEMA,
    Clip,
    write_manifest,
    write_table,
)
from pipeline.config import DatasetParams
from pipeline.datasets.base import ListedClip, Listing, adapter
from pipeline.datasets.checks import check_classes, check_leaks
from pipeline.datasets.classes import choose_classes
from pipeline.datasets.facts import FileCache, FileFacts
from pipeline.datasets.fingerprint import Pictures, find_twins
from pipeline.datasets.frame_names import FrameNames, classes_shown, frame_table
from pipeline.datasets.splits import assign_splits
from pipeline.errors import UserError
from pipeline.store import Store, code_version, digest
from pipeline.workers import Limits

ROOM = "ingest"
_UNUSED_SHOWN = 10


def ingest(
    params: DatasetParams,
    workers: int = 1,
    folder: Path = Path(),
    limits: Limits | None = None,
) -> None:
    """Write the manifest, the splits and the frame labels below `folder`.

    What was written for the same listing, files and settings before is taken from the store.

    Args:
        params: the `dataset` section.
        workers: processes that look at new clips, or render the demo.
        folder: the repository, or an experiment's copy of it.
        limits: of the processes that look at clips.

    Raises:
        UserError: the data set, its classes or its splits cannot be used; see the functions
            called here.
    """
    source = adapter(params.name)
    listing = source.list_clips(params, workers)
    classes, excluded = choose_classes(listing.clips, params)
    listed = [clip for clip in listing.clips if not clip.classes.isdisjoint(classes)]
    root = source.dataset_root(params)
    with FileCache() as cache:
        names = sorted({clip.path for clip in listed})
        described = cache.describe([root / name for name in names], workers, limits)
        facts = dict(zip(names, described, strict=True))
        store = Store()
        key = _key(params, listing, listed, excluded, facts)
        if _restore(store, key, folder):
            return
        clips, frames = _clips(listed, facts, classes)
        twins = _twins(clips, root, cache)
    shown = classes_shown(clips, frames)
    splits = assign_splits(clips, params, twins, shown)
    check_leaks(clips, splits.folds, params, twins)
    check_classes(clips, splits.folds, classes, params, twins, shown)
    remarks = [*splits.remarks, *_other_lengths(clips, frames)]
    notes = _notes(listing, excluded, clips, twins, remarks)
    write_manifest(clips, folder / MANIFEST, classes=classes, dataset=params.name, notes=notes)
    write_table(_splits_table(clips, splits.folds), folder / SPLITS)
    write_table(frame_table(frames, classes), folder / FRAME_LABELS)
    _keep(store, key, folder)


def clip_ids(listed: Sequence[ListedClip]) -> list[str]:
    """A readable name for each: the path without its suffix, and `@start-end` for a part.

    Where two names are equal (a.mp4 beside a.avi), both keep their suffixes.
    """
    short = [posixpath.splitext(clip.path)[0] for clip in listed]
    files: dict[str, set[str]] = {}
    for name, clip in zip(short, listed, strict=True):
        files.setdefault(name, set()).add(clip.path)
    return [
        (name if len(files[name]) == 1 else clip.path) + _part(clip)
        for name, clip in zip(short, listed, strict=True)
    ]


def _part(clip: ListedClip) -> str:
    if clip.start_s is None and clip.end_s is None:
        return ""
    end = "end" if clip.end_s is None else f"{clip.end_s!r}".removesuffix(".0")
    return f"@{clip.start_s or 0.0!r}".removesuffix(".0") + f"-{end}"


def _clips(
    listed: Sequence[ListedClip], facts: dict[str, FileFacts], classes: Sequence[str]
) -> tuple[list[Clip], dict[str, FrameNames]]:
    """Manifest rows in order of `clip_id`, never empty of readable clips; and, in the same order,
    the classes of frames where frames are labelled."""
    clips = []
    frames = {}
    for name, item in zip(clip_ids(listed), listed, strict=True):
        file = facts[item.path]
        reason = file.reason
        if item.frames is not None:
            frames[name] = item.frames
        if reason is None and (item.start_s or 0.0) >= (file.duration_s or float("inf")):
            reason = "starts after the end of the file"
        clips.append(
            Clip(
                clip_id=name,
                path=item.path,
                sha256=file.sha256,
                label=item.label,
                label_index=None if item.label is None else classes.index(item.label),
                subject=item.subject,
                group=item.group,
                split=item.split,
                fold=item.fold,
                start_s=item.start_s,
                end_s=item.end_s,
                fps=file.fps,
                frames=file.frames,
                duration_s=file.duration_s,
                width=file.width,
                height=file.height,
                status=OK if reason is None else QUARANTINED,
                reason=reason,
            )
        )
    reasons = Counter(clip.reason for clip in clips if clip.reason)
    if reasons.total() == len(clips):
        reason, count = reasons.most_common(1)[0]
        raise UserError(
            f"none of the {len(clips)} clips can be used; {count} of them: {reason} "
            f"(first: '{next(clip.path for clip in clips if clip.reason == reason)}'); "
            "is dataset.root right?"
        )
    clips.sort(key=lambda clip: clip.clip_id)
    return clips, {clip.clip_id: frames[clip.clip_id] for clip in clips if clip.clip_id in frames}


def _other_lengths(clips: Sequence[Clip], frames: dict[str, FrameNames]) -> list[str]:
    """A remark where videos have another number of frames than of labels."""
    odd = [
        clip.clip_id
        for clip in clips
        if clip.clip_id in frames
        and clip.frames is not None
        and clip.frames != len(frames[clip.clip_id].codes)
    ]
    if not odd:
        return []
    return [f"{len(odd)} videos have another number of frames than of labels, first: '{odd[0]}'"]


def _twins(clips: Sequence[Clip], root: Path, cache: FileCache) -> list[int | None]:
    """Per clip a number shared by the clips whose files show the same pictures, or None."""
    files = {clip.path: clip for clip in clips if clip.status == OK}
    paths = [root / name for name in files]
    pictures = [
        Pictures(_frames(clip), start)
        for clip, start in zip(files.values(), cache.starts(paths), strict=True)
    ]
    groups = find_twins(pictures, lambda row: cache.whole(paths[row]))
    group_of = dict(zip(files, groups, strict=True))
    return [group_of.get(clip.path) for clip in clips]


def _frames(clip: Clip) -> int | None:
    """The number of frames, from the length where the container does not say."""
    if clip.frames is None and clip.duration_s and clip.fps:
        return round(clip.duration_s * clip.fps)
    return clip.frames


def _notes(
    listing: Listing,
    excluded: dict[str, int],
    clips: Sequence[Clip],
    twins: Sequence[int | None],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Counts for the report: what was listed, left out, set aside, and tied together."""
    labels: dict[int, set[str | None]] = {}
    for clip, twin in zip(clips, twins, strict=True):
        if twin is not None and clip.start_s is None and clip.end_s is None:
            labels.setdefault(twin, set()).add(clip.label)
    doubtful = sum(len(names) > 1 for names in labels.values())
    if doubtful:
        remarks = [*remarks, f"{doubtful} sets of clips of the same pictures have several labels"]
    return {
        "listed": len(listing.clips),
        "excluded": excluded,
        "quarantined": dict(Counter(clip.reason for clip in clips if clip.reason)),
        "twins": {
            "clips": sum(twin is not None for twin in twins),
            "sets": len({twin for twin in twins if twin is not None}),
        },
        "unused_files": {"count": len(listing.unused), "first": listing.unused[:_UNUSED_SHOWN]},
        "remarks": list(remarks),
    }


def _splits_table(clips: Sequence[Clip], folds: Sequence[Sequence[str]]) -> pa.Table:
    rows = [
        {"clip_id": clip.clip_id, "fold": fold, "split": side}
        for fold, sides in enumerate(folds)
        for clip, side in zip(clips, sides, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SPLITS_SCHEMA)


def _key(
    params: DatasetParams,
    listing: Listing,
    listed: Sequence[ListedClip],
    excluded: dict[str, int],
    facts: dict[str, FileFacts],
) -> str:
    """Digest of all that the three files depend on; not of where the folder lies."""
    settings = params.model_dump(mode="json", exclude={"root", "manifest", "demo"})
    rows = [
        {**vars(clip), "where": "", "frames": clip.frames and clip.frames.digest()}
        for clip in listed
    ]
    found = {name: vars(file) for name, file in facts.items()}
    code = code_version("pipeline.datasets", "pipeline.clips")
    rest = [excluded, listing.unused]
    return digest(settings, rows, found, rest, code, version("scikit-learn"))


def _restore(store: Store, key: str, folder: Path) -> bool:
    return all(
        store.get_file(ROOM, digest(key, name.as_posix()), folder / name)
        for name in (MANIFEST, SPLITS, FRAME_LABELS)
    )


def _keep(store: Store, key: str, folder: Path) -> None:
    for name in (MANIFEST, SPLITS, FRAME_LABELS):
        store.put_file(ROOM, digest(key, name.as_posix()), folder / name)
