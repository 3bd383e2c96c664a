"""From a data set's folder to the manifest and the splits."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

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
from pipeline.datasets.base import About, ListedClip, Listing
from pipeline.datasets.checks import OUT, check_classes, check_leaks, drop_leaks
from pipeline.datasets.classes import choose_classes
from pipeline.datasets.corpora import CROSS, Corpus, corpora, list_all, settle
from pipeline.datasets.facts import FileCache, FileFacts, Media
from pipeline.datasets.frame_names import FrameNames, classes_shown, frame_table
from pipeline.datasets.mapping import map_classes
from pipeline.datasets.splits import assign_splits
from pipeline.datasets.twins import twins_of
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
    faces: Literal["detect", "aligned"] = "detect",
) -> None:
    """Write the manifest, the splits and the frame labels below `folder`.

    What was written for the same listing, files and settings before is taken from the store.

    Args:
        params: the `dataset` section.
        workers: processes that look at new clips, or render the demo.
        folder: the repository, or an experiment's copy of it.
        limits: of the processes that look at clips.
        faces: `faces.source`.

    Raises:
        UserError: the data set, its classes or its splits cannot be used; see the functions
            called here.
    """
    found = corpora(params, faces)
    about = found[0].about
    if any(corpus.adapter == "demo" for corpus in found):
        from pipeline.datasets.adapters.demo import render

        render(params.demo, workers)
    listing = list_all(found)
    params = settle(params, about, listing.clips)
    mapped = map_classes(listing.clips, params)
    classes, excluded = choose_classes(mapped.clips, params, about.classes)
    listed = [clip for clip in mapped.clips if not clip.classes.isdisjoint(classes)]
    left_out = {**listing.left_out, **mapped.left_out}
    blank = sum(clip.frames is not None for clip in mapped.clips) - sum(
        clip.frames is not None for clip in listed
    )
    if blank:
        left_out["videos without a frame of a class that is kept"] = blank
    media = media_of(listed, found)
    with FileCache() as cache:
        described = cache.describe(list(dict.fromkeys(media)), workers, limits)
        facts = dict(zip(dict.fromkeys(media), described, strict=True))
        store = Store()
        key = _key(params, listing, left_out, listed, excluded, [facts[one] for one in media])
        if _restore(store, key, folder):
            return
        clips, frames, files = _clips(listed, media, facts, classes)
        usable = {files[clip.clip_id]: None for clip in clips if clip.status == OK}
        same = twins_of({one: facts[one] for one in usable}, cache)
        twins = [same.get(files[clip.clip_id]) for clip in clips]
    shown = classes_shown(clips, frames)
    splits = assign_splits(clips, params, twins, shown)
    folds, dropped = (
        drop_leaks(clips, splits.folds, params, twins)
        if params.leaks == "drop"
        else (splits.folds, [])
    )
    check_leaks(clips, folds, params, twins)
    check_classes(clips, folds, classes, params, twins, shown)
    remarks = [*splits.remarks, *dropped, *_other_lengths(clips, frames)]
    notes = _notes(listing, left_out, excluded, clips, twins, remarks)
    notes["protocol"] = _protocol(params, about, listing.metric, len(folds))
    notes["sets"] = [_set_facts(corpus) for corpus in found]
    write_manifest(clips, folder / MANIFEST, classes=classes, dataset=params.name, notes=notes)
    write_table(_splits_table(clips, folds), folder / SPLITS)
    write_table(frame_table(frames, classes), folder / FRAME_LABELS)
    _keep(store, key, folder)


def clip_ids(listed: Sequence[ListedClip]) -> list[str]:
    """A readable name for each: the path without its suffix, and `@start-end` for a part.

    Where two names are equal (a.mp4 beside a.avi), both keep their suffixes. Of several corpora
    each name begins with its corpus.
    """
    several = len({clip.corpus for clip in listed}) > 1
    paths = [f"{clip.corpus}/{clip.path}" if several else clip.path for clip in listed]
    short = [
        path if clip.images else posixpath.splitext(path)[0]
        for path, clip in zip(paths, listed, strict=True)
    ]
    files: dict[str, set[str]] = {}
    for name, path in zip(short, paths, strict=True):
        files.setdefault(name, set()).add(path)
    return [
        (name if len(files[name]) == 1 else path) + _part(clip)
        for name, path, clip in zip(short, paths, listed, strict=True)
    ]


def media_of(listed: Sequence[ListedClip], found: Sequence[Corpus]) -> list[Media]:
    """The file or folder of each clip."""
    roots = {corpus.name: corpus.wanted.root for corpus in found}
    media = []
    for clip in listed:
        root = roots[clip.corpus]
        if clip.images is None:
            media.append(Media(root / clip.path))
            continue
        points = clip.images.landmarks
        media.append(
            Media(root / clip.path, True, clip.images.first, root / points if points else None)
        )
    return media


def why_unusable(clip: ListedClip, file: FileFacts) -> str | None:
    """Why a listed clip is quarantined; None: it is not."""
    if file.reason is None and (clip.start_s or 0.0) >= (_timing(clip, file)[1] or float("inf")):
        return "starts after the end of the file"
    return file.reason


def surplus_labels(labels: int, frames: int | None, pictures: bool) -> int:
    """By how many a video's labels exceed its frames; below 0: so many frames have no label.

    The last frames of a folder of pictures may have none: no face was found in them.
    """
    surplus = 0 if frames is None else labels - frames
    return min(surplus, 0) if pictures else surplus


def _timing(clip: ListedClip, file: FileFacts) -> tuple[float | None, float | None]:
    """Pictures a second, and seconds."""
    if clip.images is None:
        return file.fps, file.duration_s
    return clip.images.fps, file.frames and file.frames / clip.images.fps


def _part(clip: ListedClip) -> str:
    if clip.person:
        return f"@{clip.person}"
    if clip.start_s is None and clip.end_s is None:
        return ""
    end = "end" if clip.end_s is None else f"{clip.end_s!r}".removesuffix(".0")
    return f"@{clip.start_s or 0.0!r}".removesuffix(".0") + f"-{end}"


def _clips(
    listed: Sequence[ListedClip],
    media: Sequence[Media],
    facts: Mapping[Media, FileFacts],
    classes: Sequence[str],
) -> tuple[list[Clip], dict[str, FrameNames], dict[str, Media]]:
    """Manifest rows in order of `clip_id`, never empty of readable clips; in the same order, the
    classes of frames where frames are labelled; and each clip's file."""
    clips = []
    frames = {}
    files = {}
    for name, item, one in zip(clip_ids(listed), listed, media, strict=True):
        file = facts[one]
        fps, length = _timing(item, file)
        reason = why_unusable(item, file)
        if item.frames is not None:
            frames[name] = item.frames
        files[name] = one
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
                fps=fps,
                frames=file.frames,
                duration_s=length,
                width=file.width,
                height=file.height,
                corpus=item.corpus,
                pictures=item.images is not None,
                first_picture=item.images.first if item.images else None,
                faces=item.faces,
                landmarks=item.images.landmarks if item.images else None,
                person=item.person,
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
    labelled = {clip.clip_id: frames[clip.clip_id] for clip in clips if clip.clip_id in frames}
    return clips, labelled, files


def _other_lengths(clips: Sequence[Clip], frames: Mapping[str, FrameNames]) -> list[str]:
    """Remarks where videos have another number of frames than of labels."""
    longer, shorter = [], []
    for clip in clips:
        if clip.clip_id not in frames:
            continue
        surplus = surplus_labels(len(frames[clip.clip_id].codes), clip.frames, clip.pictures)
        if surplus > 0:
            longer.append((clip.clip_id, surplus))
        elif surplus < 0:
            shorter.append((clip.clip_id, -surplus))
    remarks = []
    for found, what in (
        (longer, "more labels than frames: {} labels beyond the end are not used"),
        (shorter, "fewer labels than frames: {} frames without a label are not used"),
    ):
        if found:
            total = sum(count for _, count in found)
            videos = "1 video has" if len(found) == 1 else f"{len(found)} videos have"
            remarks.append(f"{videos} {what.format(total)} (first: '{found[0][0]}')")
    return remarks


def _protocol(
    params: DatasetParams, about: About, metric: str | None, folds: int
) -> dict[str, Any]:
    """How the clips are divided, and which score the data set's publications report."""
    cross = params.name == "cross"
    recipe = CROSS if cross else about.recipe
    own = (recipe.protocol, recipe.group_by) == (params.protocol, params.group_by)
    if recipe.protocol == "kfold":
        own = own and folds == recipe.folds
    words = recipe.words if own else ""
    gone = [*params.exclude, *(name for name, new in params.map.items() if new is None)]
    if words and gone:
        words += f"; without {', '.join(gone)}"
    if words and any(params.map.values()):
        words += "; classes joined or renamed by dataset.map"
    return {
        "protocol": params.protocol,
        "group_by": params.group_by,
        "folds": folds,
        "metric": metric or about.metric,
        "published": about.published and not cross,
        "words": words,
    }


def _set_facts(corpus: Corpus) -> dict[str, Any]:
    """What a reader must know of a data set: its name in full, and on which terms it is used."""
    about = corpus.about
    return {
        "name": corpus.name,
        "adapter": corpus.adapter,
        "title": about.title,
        "variant": corpus.wanted.variant,
        "role": corpus.role,
        "licence": about.licence,
    }


def _notes(
    listing: Listing,
    left_out: dict[str, int],
    excluded: dict[str, int],
    clips: Sequence[Clip],
    twins: Sequence[int | None],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Counts for the report: what was listed, left out, set aside, and tied together."""
    labels: dict[int, set[str | None]] = {}
    for clip, twin in zip(clips, twins, strict=True):
        if twin is not None and (clip.start_s, clip.end_s, clip.person) == (None, None, None):
            labels.setdefault(twin, set()).add(clip.label)
    doubtful = sum(len(names) > 1 for names in labels.values())
    if doubtful:
        remarks = [*remarks, f"{doubtful} sets of clips of the same pictures have several labels"]
    return {
        "listed": len(listing.clips),
        "left_out": left_out,
        "excluded": excluded,
        "quarantined": dict(Counter(clip.reason for clip in clips if clip.reason)),
        "twins": {
            "clips": sum(twin is not None for twin in twins),
            "sets": len({twin for twin in twins if twin is not None}),
        },
        "unused_files": {"count": len(listing.unused), "first": listing.unused[:_UNUSED_SHOWN]},
        "remarks": [*listing.remarks, *remarks],
    }


def _splits_table(clips: Sequence[Clip], folds: Sequence[Sequence[str]]) -> pa.Table:
    rows = [
        {"clip_id": clip.clip_id, "fold": fold, "split": side}
        for fold, sides in enumerate(folds)
        for clip, side in zip(clips, sides, strict=True)
        if side != OUT
    ]
    return pa.Table.from_pylist(rows, schema=SPLITS_SCHEMA)


def _key(
    params: DatasetParams,
    listing: Listing,
    left_out: dict[str, int],
    listed: Sequence[ListedClip],
    excluded: dict[str, int],
    facts: Sequence[FileFacts],
) -> str:
    """Digest of all that the three files depend on; not of where the folder lies."""
    elsewhere = {"root", "manifest", "demo", "train_on", "test_on"}
    settings = params.model_dump(mode="json", exclude=elsewhere)
    rows = [
        {
            **vars(clip),
            "where": "",
            "frames": clip.frames and clip.frames.digest(),
            "images": clip.images and vars(clip.images),
        }
        for clip in listed
    ]
    code = code_version("pipeline.datasets", "pipeline.clips")
    rest = [excluded, left_out, listing.unused, listing.remarks]
    return digest(settings, rows, list(map(vars, facts)), rest, code, version("scikit-learn"))


def _restore(store: Store, key: str, folder: Path) -> bool:
    return all(
        store.get_file(ROOM, digest(key, name.as_posix()), folder / name)
        for name in (MANIFEST, SPLITS, FRAME_LABELS)
    )


def _keep(store: Store, key: str, folder: Path) -> None:
    for name in (MANIFEST, SPLITS, FRAME_LABELS):
        store.put_file(ROOM, digest(key, name.as_posix()), folder / name)
