"""Compare a data set on disk with its documentation; and try what ingest would do with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.base import Expected, ListedClip, Listing
from arpgnet.pipeline.datasets.clip_targets import is_presence, target_table
from arpgnet.pipeline.datasets.corpora import Corpus, corpora, list_all
from arpgnet.pipeline.datasets.file_cache import FileCache, near_duplicates_of
from arpgnet.pipeline.datasets.media import NOT_FOUND, FileMetadata, Media
from arpgnet.pipeline.ingest.names import doubtful_names
from arpgnet.pipeline.ingest.notes import surplus_labels, target_surplus
from arpgnet.pipeline.ingest.plan import choose, divide
from arpgnet.pipeline.ingest.rows import media_of, why_unusable
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.tables.targets import TargetTable

State = Literal["ok", "differs", "unknown"]
_SHOWN = 5


@dataclass(frozen=True)
class Line:
    """One comparison. `unknown`: there is no documented value to compare with."""

    what: str
    expected: str
    found: str
    state: State
    first: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """The comparisons of one data set, and remarks for the reader."""

    title: str
    lines: list[Line]
    remarks: list[str]

    @property
    def ok(self) -> bool:
        return all(line.state != "differs" for line in self.lines)


def check(
    params: DatasetParams,
    faces: Literal["detect", "aligned"] = "detect",
    workers: int = 1,
    limits: Limits | None = None,
    *,
    verify: bool = False,
) -> list[Findings]:
    """List each data set completely, read its files, and compare.

    What `dataset.map` and `dataset.exclude` would leave out is counted too.

    Args:
        params: which sets, and where.
        faces: `faces.source`.
        workers: processes that read files.
        verify: read every file again, even if its length and time are unchanged.

    Raises:
        UserError: a set cannot be listed at all.
    """
    found = corpora(params, faces)
    if any(corpus.adapter == "demo" for corpus in found):
        from arpgnet.pipeline.datasets.adapters.demo import render

        render(params.demo, workers)
    return [_check(corpus, params, workers, limits, verify) for corpus in found]


def check_plan(
    params: DatasetParams,
    faces: Literal["detect", "aligned"] = "detect",
    workers: int = 1,
    limits: Limits | None = None,
) -> str:
    """Choose classes and divide the clips as ingest does, without writing; summarize in one line.

    Files that `check` has read are not read again.

    Raises:
        UserError: what ingest would raise.
    """
    found = corpora(params, faces)
    chosen = choose(list_all(found), params, found[0].about)
    media = media_of(chosen.clips, found)
    unique = list(dict.fromkeys(media))
    with FileCache() as cache:
        metadata = dict(zip(unique, cache.describe(unique, workers, limits), strict=True))
        plan = divide(chosen, media, metadata, cache, workers, limits)
    settled = chosen.params
    return (
        f"{plural(len(plan.clips), 'clip')} of {plural(len(chosen.classes), 'class', 'classes')}, "
        f"{settled.protocol} with {plural(len(plan.folds), 'fold')}, "
        f"dataset.group_by: {settled.group_by}"
    )


def _check(
    corpus: Corpus, params: DatasetParams, workers: int, limits: Limits | None, verify: bool
) -> Findings:
    listing = corpus.listing()
    media = media_of(listing.clips, [corpus])
    unique = list(dict.fromkeys(media))
    with FileCache() as cache:
        changed = cache.verify(unique, workers, limits) if verify else []
        metadata = dict(zip(unique, cache.describe(unique, workers, limits), strict=True))
        usable = {one: file for one, file in metadata.items() if file.reason is None}
        near_duplicates = near_duplicates_of(usable, cache, workers, limits)
    expected = corpus.about.expected_of(corpus.wanted.variant)
    where = dict(zip(media, (clip.path for clip in listing.clips), strict=True))
    doubts = list(doubtful_names(listing.clips, params))
    targets = target_table({clip.path: clip.targets for clip in listing.clips})
    lines = [*_counts(listing.clips, expected), *_annotated(targets), *_left_out(listing)]
    lines.append(replace(_fault("doubtful names", doubts), first=[]))
    lines += _files(listing.clips, media, metadata)
    if verify:
        names = [where[one] for one in changed]
        # all of them, to find every file on a failing disk
        lines.append(replace(_fault("content changed, same length and time", names), first=names))
    lines += [
        _sets("identical files", {one: file.sha256 for one, file in usable.items()}, where),
        _sets("near-duplicate clips", near_duplicates, where),
        *_lengths(listing.clips, media, metadata),
        *_target_lengths(listing.clips, targets, media, metadata),
        _note("unused files", listing.unused),
    ]
    variant = f", {corpus.wanted.variant}" if corpus.wanted.variant else ""
    title = f"{corpus.name}{variant}: {corpus.wanted.root}"
    return Findings(title, lines, [*listing.remarks, *doubts])


def _counts(clips: Sequence[ListedClip], expected: Expected) -> Iterable[Line]:
    """Count clips, subjects, clips per split, clips (or labeled frames) per class."""
    subjects = {clip.subject for clip in clips if clip.subject is not None}
    yield _count("clips", expected.clips, len(clips))
    yield _count("subjects", expected.subjects, len(subjects))
    splits = Counter(clip.split for clip in clips if clip.split)
    for name in dict.fromkeys([*expected.splits, *sorted(splits)]):
        yield _count(f"clips of {name}", expected.splits.get(name), splits[name])
    classes: Counter[str] = Counter()
    unit = "clips"
    for clip in clips:
        if clip.frames is None:
            classes.update(clip.classes)
        else:
            unit = "frames"
            classes.update({name: clip.frames.count(name) for name in clip.classes})
    for name in dict.fromkeys([*expected.classes, *sorted(classes)]):
        yield _count(f"{unit} of {name}", expected.classes.get(name), classes[name])


def _annotated(targets: TargetTable) -> Iterable[Line]:
    """Count of each target what is annotated, how often a unit is present, and what is masked."""
    for name, column in zip(targets.names, targets.values.T, strict=True):
        own = targets.columns([name])
        frames = (own.frame_index >= 0).any()
        rows = targets.frame_index >= 0 if frames else targets.frame_index < 0
        values = column[rows]
        found = int((~np.isnan(values)).sum())
        parts = [f"{found:,} annotated"]
        if is_presence(name):
            parts.append(f"{int(np.nansum(values)):,} present")
        if found < len(values):
            parts.append(f"{len(values) - found:,} not annotated")
        yield Line(f"{'frames' if frames else 'clips'} of {name}", "-", ", ".join(parts), "unknown")


def _left_out(listing: Listing) -> Iterable[Line]:
    for why, count in listing.left_out.items():
        yield _count(f"left out: {why}", None, count)


def _files(
    clips: Sequence[ListedClip], media: Sequence[Media], metadata: dict[Media, FileMetadata]
) -> Iterable[Line]:
    """Count missing files, and unusable ones by reason."""
    reasons: dict[str, list[str]] = {}
    for clip, one in zip(clips, media, strict=True):
        reason = why_unusable(clip, metadata[one])
        if reason is not None:
            reasons.setdefault(reason, []).append(clip.path)
    yield _fault("missing files", reasons.pop(NOT_FOUND, []))
    if not reasons:
        yield _fault("unreadable files", [])
    for reason, names in sorted(reasons.items()):
        yield _fault(f"unreadable: {reason}", names)


def _sets(
    what: str, key: dict[Media, str] | dict[Media, int | None], where: dict[Media, str]
) -> Line:
    """Count files that share a key with others, and name the first such groups."""
    groups: dict[str | int, list[str]] = {}
    for one, value in key.items():
        if value is not None:
            groups.setdefault(value, []).append(where[one])
    shared = [names for names in groups.values() if len(names) > 1]
    if not shared:
        return Line(what, "-", "0", "ok")
    count = f"{sum(map(len, shared))} in {plural(len(shared), 'group')}"
    first = [f"{names[0]} = {names[1]}{_more(len(names) - 2)}" for names in shared[:_SHOWN]]
    return Line(what, "-", count, "unknown", first)


def _more(count: int) -> str:
    return f" and {count} more" if count else ""


def _lengths(
    clips: Sequence[ListedClip], media: Sequence[Media], metadata: dict[Media, FileMetadata]
) -> Iterable[Line]:
    """Count videos whose numbers of frames and labels differ."""
    surplus = [
        (
            clip.path,
            surplus_labels(len(clip.frames.codes), metadata[one].frames, one.image_sequence),
        )
        for clip, one in zip(clips, media, strict=True)
        if clip.frames is not None
    ]
    if surplus:
        longer = [name for name, count in surplus if count > 0]
        shorter = [name for name, count in surplus if count < 0]
        yield _note("videos with more labels than frames", longer)
        yield _note("videos with fewer labels than frames", shorter)


def _target_lengths(
    clips: Sequence[ListedClip],
    targets: TargetTable,
    media: Sequence[Media],
    metadata: dict[Media, FileMetadata],
) -> Iterable[Line]:
    """Count videos whose frames and annotated frames differ."""
    if not (targets.frame_index >= 0).any():
        return
    known = {
        clip.path: (metadata[one].frames, clip.faces == "aligned")
        for clip, one in zip(clips, media, strict=True)
    }
    beyond, bare = target_surplus(known, targets)
    yield _note("videos with targets beyond the last frame", list(beyond))
    yield _note("videos with frames without targets", list(bare))


def _count(what: str, expected: int | None, found: int) -> Line:
    if expected is None:
        return Line(what, "-", f"{found:,}", "unknown")
    return Line(what, f"{expected:,}", f"{found:,}", "ok" if found == expected else "differs")


def _fault(what: str, names: Sequence[str]) -> Line:
    """Compare with an expected count of 0."""
    names = list(dict.fromkeys(names))
    return Line(what, "0", f"{len(names):,}", "differs" if names else "ok", names[:_SHOWN])


def _note(what: str, names: Sequence[str]) -> Line:
    """Report a count without a documented value; 0 is always ok."""
    state: State = "unknown" if names else "ok"
    return Line(what, "-", f"{len(names):,}", state, list(names[:_SHOWN]))
