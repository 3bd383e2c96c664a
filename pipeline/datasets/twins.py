"""Files that show the same pictures, by what the cache knows of them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.datasets.facts import FileCache
from pipeline.datasets.fingerprint import Pictures, find_twins
from pipeline.datasets.media import FileFacts, Media


def twins_of(facts: Mapping[Media, FileFacts], cache: FileCache) -> dict[Media, int | None]:
    """Per readable file a number shared by those of the same pictures, or None.

    Args:
        facts: of files that `cache.describe` found readable.
    """
    media = list(facts)
    pictures = [
        Pictures(_frames(file), start)
        for file, start in zip(facts.values(), cache.starts(media), strict=True)
    ]
    groups = find_twins(pictures, lambda row: cache.whole(media[row]))
    return dict(zip(media, groups, strict=True))


def _frames(file: FileFacts) -> int | None:
    """The number of frames, from the length where the container does not say."""
    if file.frames is None and file.duration_s and file.fps:
        return round(file.duration_s * file.fps)
    return file.frames
