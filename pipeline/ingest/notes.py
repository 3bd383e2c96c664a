"""What ingest has to say about the clips, for the reader of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import About, Listing
from arpgnet.pipeline.datasets.corpora import CROSS, Corpus
from arpgnet.pipeline.datasets.frame_names import FrameNames
from arpgnet.pipeline.tables.manifest import Clip

_UNUSED_SHOWN = 10


def notes_of(
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
        remarks = [*remarks, f"{doubtful} sets of clips of the same images have several labels"]
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


def protocol_note(
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


def set_facts(corpus: Corpus) -> dict[str, Any]:
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


def other_lengths(clips: Sequence[Clip], frames: Mapping[str, FrameNames]) -> list[str]:
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


def surplus_labels(labels: int, frames: int | None, pictures: bool) -> int:
    """By how many a video's labels exceed its frames; below 0: so many frames have no label.

    The last frames of a folder of images may have none: no face was found in them.
    """
    surplus = 0 if frames is None else labels - frames
    return min(surplus, 0) if pictures else surplus
