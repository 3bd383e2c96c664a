"""The ingest stage: from a data set's folder to the manifest and the splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import ListedClip, Listing, adapter_module
from arpgnet.pipeline.datasets.clip_targets import target_table, unannotated
from arpgnet.pipeline.datasets.corpora import corpora, list_all, resolve_params
from arpgnet.pipeline.datasets.file_cache import FileCache, near_duplicates_of
from arpgnet.pipeline.datasets.frame_names import classes_shown, frame_table
from arpgnet.pipeline.datasets.media import FileMetadata
from arpgnet.pipeline.ingest.checks import OUT, check_classes, check_leaks, drop_leaks
from arpgnet.pipeline.ingest.classes import choose_classes, map_classes
from arpgnet.pipeline.ingest.notes import (
    notes_of,
    other_lengths,
    other_target_lengths,
    protocol_note,
    set_metadata,
)
from arpgnet.pipeline.ingest.rows import clip_ids, manifest_rows, media_of
from arpgnet.pipeline.ingest.splits import assign_splits
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.store import Store, code_version, digest
from arpgnet.pipeline.tables.manifest import (
    FRAME_LABELS,
    MANIFEST,
    OK,
    SPLITS,
    SPLITS_SCHEMA,
    Clip,
    read_manifest,
    write_manifest,
    write_table,
)
from arpgnet.pipeline.tables.targets import TARGETS, write_targets

NAMESPACE = "ingest"
FILES = (MANIFEST, SPLITS, FRAME_LABELS, TARGETS)


def ingest(
    params: DatasetParams,
    workers: int = 1,
    folder: Path = Path(),
    limits: Limits | None = None,
    faces: Literal["detect", "aligned"] = "detect",
) -> None:
    """Write the manifest, the splits, the frame labels and the targets below `folder`.

    Results for the same listing, files and settings are taken from the store.

    Args:
        params: the `dataset` section.
        workers: processes that read new clips, or render the demo.
        folder: the repository, or an experiment's copy of it.
        limits: of the processes that read clips.
        faces: `faces.source`.

    Raises:
        UserError: the data set, its classes or its splits cannot be used; see the functions
            called here.
    """
    stated = _settings(params)
    found = corpora(params, faces)
    about = found[0].about
    if any(corpus.adapter == "demo" for corpus in found):
        from arpgnet.pipeline.datasets.adapters.demo import render

        render(params.demo, workers)
    listing = list_all(found)
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
    media = media_of(listed, found)
    with FileCache() as cache:
        described = cache.describe(list(dict.fromkeys(media)), workers, limits)
        metadata = dict(zip(dict.fromkeys(media), described, strict=True))
        store = Store()
        adapters = [adapter_module(corpus.adapter) for corpus in found]
        code = code_version(__name__, *adapters)
        about_files = [metadata[one] for one in media]
        key = _key(code, params, listing, left_out, listed, excluded, about_files)
        if _restore(store, key, folder):
            return
        clips, frames, files = manifest_rows(listed, media, metadata, classes)
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
    check_classes(clips, folds, classes, params, near_duplicates, shown)
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
    notes = notes_of(listing, left_out, excluded, clips, near_duplicates, remarks)
    notes["protocol"] = protocol_note(params, about, listing.metric, len(folds))
    notes["settings"] = digest(stated)
    notes["sets"] = [set_metadata(corpus) for corpus in found]
    write_manifest(clips, folder / MANIFEST, classes=classes, dataset=params.name, notes=notes)
    write_table(_splits_table(clips, folds), folder / SPLITS)
    write_table(frame_table(frames, classes), folder / FRAME_LABELS)
    write_targets(targets, folder / TARGETS)
    _keep(store, key, folder)


def is_used(clip: ListedClip, classes: Sequence[str]) -> bool:
    """Check whether a clip has a used class; of one without any class, whether it has targets."""
    return not clip.classes.isdisjoint(classes) or (not clip.classes and bool(clip.targets))


def is_listed(params: DatasetParams, folder: Path = Path()) -> bool:
    """Check whether the files are there, and were made with these settings."""
    if not all((folder / path).is_file() for path in FILES):
        return False
    manifest = read_manifest(folder / MANIFEST)
    return manifest.notes.get("settings") == digest(_settings(params))


def _settings(params: DatasetParams) -> dict[str, Any]:
    """Return the settings that say what is listed, without those that say where it lies."""
    elsewhere = {"root", "manifest", "demo", "train_on", "test_on"}
    return params.model_dump(mode="json", exclude=elsewhere)


def _splits_table(clips: Sequence[Clip], folds: Sequence[Sequence[str]]) -> pa.Table:
    used = [
        (clip.clip_id, fold, side)
        for fold, sides in enumerate(folds)
        for clip, side in zip(clips, sides, strict=True)
        if side != OUT
    ]
    # by columns: from rows, pyarrow would import pandas, which takes a second
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*used, strict=True), SPLITS_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=SPLITS_SCHEMA)


def _key(
    code: str,
    params: DatasetParams,
    listing: Listing,
    left_out: dict[str, int],
    listed: Sequence[ListedClip],
    excluded: dict[str, int],
    metadata: Sequence[FileMetadata],
) -> str:
    """Compute the digest of all that the files depend on, without the folder's location."""
    rows = [
        {
            **vars(clip),
            "where": "",
            "frames": clip.frames and clip.frames.digest(),
            "targets": [one.digest() for one in clip.targets],
            "images": clip.images and vars(clip.images),
        }
        for clip in listed
    ]
    rest = [excluded, left_out, listing.unused, listing.remarks, listing.metric]
    return digest(_settings(params), rows, list(map(vars, metadata)), rest, code)


def _restore(store: Store, key: str, folder: Path) -> bool:
    return all(
        store.get_file(NAMESPACE, digest(key, name.as_posix()), folder / name) for name in FILES
    )


def _keep(store: Store, key: str, folder: Path) -> None:
    for name in FILES:
        store.put_file(NAMESPACE, digest(key, name.as_posix()), folder / name)
