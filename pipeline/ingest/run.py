"""The ingest stage: from a data set's folder to the manifest and the splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import adapter_module
from arpgnet.pipeline.datasets.corpora import corpora, list_all
from arpgnet.pipeline.datasets.file_cache import FileCache
from arpgnet.pipeline.datasets.frame_names import frame_table
from arpgnet.pipeline.datasets.media import FileMetadata
from arpgnet.pipeline.ingest.checks import OUT
from arpgnet.pipeline.ingest.notes import notes_of, protocol_note, set_metadata
from arpgnet.pipeline.ingest.plan import Choice, choose, divide
from arpgnet.pipeline.ingest.rows import media_of
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.store import Store, code_version, digest
from arpgnet.pipeline.tables.manifest import (
    FRAME_LABELS,
    MANIFEST,
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
    chosen = choose(list_all(found), params, about)
    params = chosen.params
    media = media_of(chosen.clips, found)
    with FileCache() as cache:
        described = cache.describe(list(dict.fromkeys(media)), workers, limits)
        metadata = dict(zip(dict.fromkeys(media), described, strict=True))
        store = Store()
        adapters = [adapter_module(corpus.adapter) for corpus in found]
        code = code_version(__name__, *adapters)
        key = _key(code, chosen, [metadata[one] for one in media])
        if _restore(store, key, folder):
            return
        plan = divide(chosen, media, metadata, cache, workers, limits)
    clips, folds = plan.clips, plan.folds
    notes = notes_of(
        chosen.listing,
        chosen.left_out,
        chosen.excluded,
        clips,
        plan.near_duplicates,
        plan.remarks,
    )
    notes["protocol"] = protocol_note(params, about, chosen.listing.metric, len(folds))
    notes["settings"] = digest(stated)
    notes["sets"] = [set_metadata(corpus) for corpus in found]
    classes = chosen.classes
    write_manifest(clips, folder / MANIFEST, classes=classes, dataset=params.name, notes=notes)
    write_table(_splits_table(clips, folds), folder / SPLITS)
    write_table(frame_table(plan.frames, classes), folder / FRAME_LABELS)
    write_targets(plan.targets, folder / TARGETS)
    _keep(store, key, folder)


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


def _key(code: str, chosen: Choice, metadata: Sequence[FileMetadata]) -> str:
    """Compute the digest of all that the files depend on, without the folder's location."""
    rows = [
        {
            **vars(clip),
            "where": "",
            "frames": clip.frames and clip.frames.digest(),
            "targets": [one.digest() for one in clip.targets],
            "images": clip.images and vars(clip.images),
        }
        for clip in chosen.clips
    ]
    listing = chosen.listing
    rest = [chosen.excluded, chosen.left_out, listing.unused, listing.remarks, listing.metric]
    return digest(_settings(chosen.params), rows, list(map(vars, metadata)), rest, code)


def _restore(store: Store, key: str, folder: Path) -> bool:
    return all(
        store.get_file(NAMESPACE, digest(key, name.as_posix()), folder / name) for name in FILES
    )


def _keep(store: Store, key: str, folder: Path) -> None:
    for name in FILES:
        store.put_file(NAMESPACE, digest(key, name.as_posix()), folder / name)
