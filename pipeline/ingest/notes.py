"""Notes of the ingest stage for the reader of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.base import About, Listing
from arpgnet.pipeline.datasets.corpora import CROSS, Corpus
from arpgnet.pipeline.datasets.frame_names import FrameNames
from arpgnet.pipeline.datasets.groups import recordings
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.targets import TargetTable

_UNUSED_SHOWN = 10


def notes_of(
    listing: Listing,
    left_out: dict[str, int],
    excluded: dict[str, int],
    clips: Sequence[Clip],
    near_duplicates: Sequence[int | None],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Count for the report what was listed, left out, quarantined, and grouped."""
    labels: dict[int, set[str | None]] = {}
    for clip, group in zip(clips, near_duplicates, strict=True):
        if group is not None and (clip.start_s, clip.end_s, clip.person) == (None, None, None):
            labels.setdefault(group, set()).add(clip.label)
    doubtful = sum(len(names) > 1 for names in labels.values())
    if doubtful:
        verb = "has" if doubtful == 1 else "have"
        groups = plural(doubtful, "group of near-duplicates", "groups of near-duplicates")
        remarks = [*remarks, f"{groups} {verb} conflicting labels"]
    return {
        "listed": len(listing.clips),
        "left_out": left_out,
        "excluded": excluded,
        "quarantined": dict(Counter(clip.reason for clip in clips if clip.reason)),
        "near_duplicates": {
            "clips": sum(group is not None for group in near_duplicates),
            "sets": len({group for group in near_duplicates if group is not None}),
        },
        # evaluate resamples them together
        "recordings": recordings(clips, near_duplicates),
        "unused_files": {"count": len(listing.unused), "first": listing.unused[:_UNUSED_SHOWN]},
        "remarks": [*listing.remarks, *remarks],
    }


def protocol_note(
    params: DatasetParams, about: About, metric: str | None, folds: int
) -> dict[str, Any]:
    """Describe how the clips are split, and which score the data set's publications report."""
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
        words += "; classes merged or renamed by dataset.map"
    return {
        "protocol": params.protocol,
        "group_by": params.group_by,
        "folds": folds,
        "metric": metric or about.metric,
        "published": about.published and not cross,
        "words": words,
    }


def set_metadata(corpus: Corpus) -> dict[str, Any]:
    """Describe a data set for the reader: its full name, and the terms of its use."""
    about = corpus.about
    return {
        "name": corpus.name,
        "adapter": corpus.adapter,
        "title": about.title,
        "variant": corpus.wanted.variant,
        "role": corpus.role,
        "license": about.license,
    }


def other_lengths(clips: Sequence[Clip], frames: Mapping[str, FrameNames]) -> list[str]:
    """Remark on videos whose numbers of frames and labels differ."""
    longer, shorter = [], []
    for clip in clips:
        if clip.clip_id not in frames:
            continue
        surplus = surplus_labels(len(frames[clip.clip_id].codes), clip.frames, clip.image_sequence)
        if surplus > 0:
            longer.append((clip.clip_id, surplus))
        elif surplus < 0:
            shorter.append((clip.clip_id, -surplus))
    remarks = []
    for found, what in (
        (longer, "more labels than frames (unused labels: {})"),
        (shorter, "fewer labels than frames (unlabeled, unused frames: {})"),
    ):
        if found:
            total = sum(count for _, count in found)
            verb = "has" if len(found) == 1 else "have"
            videos = f"{plural(len(found), 'video')} {verb}"
            remarks.append(f"{videos} {what.format(total)}, first: '{found[0][0]}'")
    return remarks


def other_target_lengths(clips: Sequence[Clip], targets: TargetTable) -> list[str]:
    """Remark on videos whose frames and annotated frames differ."""
    known = {clip.clip_id: (clip.frames, clip.faces == "aligned") for clip in clips}
    beyond, bare = target_surplus(known, targets)
    remarks = []
    for found, what in (
        (beyond, "targets beyond the last frame (unused frames of targets: {})"),
        (bare, "frames without targets (unused frames: {})"),
    ):
        if found:
            total = sum(found.values())
            remarks.append(
                f"{plural(len(found), 'video')} with {what.format(total)}, first: "
                f"'{next(iter(found))}'"
            )
    return remarks


def target_surplus(
    known: Mapping[str, tuple[int | None, bool]], targets: TargetTable
) -> tuple[dict[str, int], dict[str, int]]:
    """Count by video the annotated frames beyond its last one, and frames that have no row.

    Args:
        known: of each video the number of frames, and whether they are faces cut out already, of
            which the last may be missing because no face was found in them.
    """
    rows = targets.frame_index >= 0
    names, frames = targets.clip_id[rows], targets.frame_index[rows]
    if not len(names):
        return {}, {}
    # the rows of a video are neighbors
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    beyond, bare = {}, {}
    for name, own in zip(names[starts], np.split(frames, starts[1:]), strict=True):
        length, cut_out = known[name]
        if length is None:
            continue
        inside = int((own < length).sum())
        if inside < len(own) and not cut_out:
            beyond[name] = len(own) - inside
        if inside < length:
            bare[name] = length - inside
    return beyond, bare


def surplus_labels(labels: int, frames: int | None, images: bool) -> int:
    """Return by how many a video's labels exceed its frames; below 0: unlabeled frames.

    The last images of a folder may be missing because no face was found in them.
    """
    surplus = 0 if frames is None else labels - frames
    return min(surplus, 0) if images else surplus
