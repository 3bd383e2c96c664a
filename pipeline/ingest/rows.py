"""Manifest rows from a data set's listing and its files."""

from __future__ import annotations

import itertools
import json
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import is_utf8, plural, shown, stored
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.datasets.corpora import Corpus
from arpgnet.pipeline.datasets.frame_names import FrameNames
from arpgnet.pipeline.datasets.media import FileMetadata, Media
from arpgnet.pipeline.datasets.not_utf8 import NOT_UTF8
from arpgnet.pipeline.tables.manifest import OK, QUARANTINED, Clip


def manifest_rows(
    listed: Sequence[ListedClip],
    media: Sequence[Media],
    metadata: Mapping[Media, FileMetadata],
    classes: Sequence[str],
) -> tuple[list[Clip], dict[str, FrameNames], dict[str, Media]]:
    """Build the manifest rows in order of `clip_id`, at least one of them readable; in the same
    order, the classes of frames if frames are labeled; and each clip's file."""
    clips = []
    frames = {}
    files = {}
    for name, item, one in zip(clip_ids(listed), listed, media, strict=True):
        file = metadata[one]
        fps, length = _timing(item, file)
        reason = why_unusable(item, file)
        points = item.images.landmarks if item.images else None
        if item.frames is not None:
            frames[name] = item.frames
        files[name] = one
        clips.append(
            Clip(
                clip_id=name,
                path=stored(item.path),
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
                image_sequence=item.images is not None,
                first_image=item.images.first if item.images else None,
                faces=item.faces,
                landmarks=points and stored(points),
                person=item.person,
                traits=json.dumps(dict(item.traits), sort_keys=True) if item.traits else None,
                status=OK if reason is None else QUARANTINED,
                reason=reason,
            )
        )
    reasons = Counter(clip.reason for clip in clips if clip.reason)
    if reasons.total() == len(clips):
        reason, count = reasons.most_common(1)[0]
        raise UserError(
            f"none of the {plural(len(clips), 'clip')} can be used; {count} of them: {reason} "
            f"(first: '{next(shown(clip.path) for clip in clips if clip.reason == reason)}'); "
            "is dataset.root correct?"
        )
    clips.sort(key=lambda clip: clip.clip_id)
    labeled = {clip.clip_id: frames[clip.clip_id] for clip in clips if clip.clip_id in frames}
    return clips, labeled, files


def clip_ids(listed: Sequence[ListedClip]) -> list[str]:
    """Name each clip: the path without its suffix, and `@start-end` for a part.

    A name that another clip could have too (a.mp4, a.avi and a.mp4.mov) keeps its suffix. Names are
    in NFC, so that they are the same on macOS, unless two paths differ only in that. With several
    corpora, each name starts with its corpus. The order of the clips does not matter.
    """
    several = len({clip.corpus for clip in listed}) > 1
    options = [_names(clip, f"{clip.corpus}/" if several else "") for clip in listed]
    claims = Counter(name for names in options for name in dict.fromkeys(names))
    chosen = [next((name for name in names if claims[name] == 1), names[-1]) for names in options]
    # one file named like another's part, as v.mp4@0-1 beside 0-1 s of v.mp4
    count = Counter(chosen)
    seen: Counter[str] = Counter()
    for row in sorted(range(len(listed)), key=lambda row: (listed[row].path, chosen[row])):
        name = chosen[row]
        seen[name] += 1
        if count[name] > 1:
            chosen[row] = next(
                free
                for extra in itertools.count(seen[name])
                if (free := f"{name}~{extra}") not in claims
            )
    return chosen


def _names(clip: ListedClip, corpus: str) -> list[str]:
    """Return what a clip may be called, the preferred name first; the last is its whole path."""
    path = stored(clip.path)
    short = path if clip.images else posixpath.splitext(path)[0]
    composed = [unicodedata.normalize("NFC", name) for name in (short, path)]
    return [f"{corpus}{name}{_part(clip)}" for name in (*composed, path)]


def media_of(listed: Sequence[ListedClip], found: Sequence[Corpus]) -> list[Media]:
    """Find the file or folder of each clip."""
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


def why_unusable(clip: ListedClip, file: FileMetadata) -> str | None:
    """Say why a listed clip is quarantined; None: it is not."""
    if not is_utf8(clip.path):
        return NOT_UTF8
    if file.reason is None and (clip.start_s or 0.0) >= (_timing(clip, file)[1] or float("inf")):
        return "starts after the end of the file"
    return file.reason


def _timing(clip: ListedClip, file: FileMetadata) -> tuple[float | None, float | None]:
    """Images a second, and seconds."""
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
