"""Doubtful names: missing values as classes, one class or person in two spellings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.datasets.spelling import (
    as_yaml,
    cleaned,
    is_missing,
    quoted,
    spelled_alike,
)

_DIFFER = "only by case, Unicode form, look-alike letters or blanks"
_SHOWN = 4


def doubtful_names(clips: Sequence[ListedClip], params: DatasetParams) -> Iterator[str]:
    """Yield a sentence for each doubt about the names of a listing: what, where, what to do.

    A class that `dataset.map`, `dataset.classes` or `dataset.exclude` names is meant as it is.
    """
    yield from _missing_labels(clips, params)
    yield from _classes_alike(clips, params)
    yield from _people_alike(clips)


def missing_frame_names(clips: Sequence[ListedClip], params: DatasetParams) -> set[str]:
    """Return the names by which frames say that they have no class."""
    shown = {name for clip in clips if clip.frames is not None for name in clip.classes}
    return {name for name in shown if is_missing(name)} - _meant(params)


def _meant(params: DatasetParams) -> set[str]:
    listed = () if params.classes == "auto" else params.classes
    return {*params.map, *listed, *params.exclude}


def _missing_labels(clips: Sequence[ListedClip], params: DatasetParams) -> Iterator[str]:
    labels = Counter(clip.label for clip in clips if clip.label is not None)
    for name in sorted(set(filter(is_missing, labels)) - _meant(params)):
        word = as_yaml(name)
        yield (
            f"class {quoted(name)} ({plural(labels[name], 'clip')}, first: {_first(clips, name)}) "
            f"is read as a missing label: remove these clips, set dataset.map: {{{word}: null}} to "
            f"leave them out, or {{{word}: {word}}} if it is a class"
        )


def _classes_alike(clips: Sequence[ListedClip], params: DatasetParams) -> Iterator[str]:
    counts = Counter(name for clip in clips for name in sorted(clip.classes))
    missing = missing_frame_names(clips, params)
    table = {name: params.map.get(name, name) for name in counts if name not in missing}
    used = {new for new in table.values() if new is not None and new not in params.exclude}
    for group in spelled_alike(used):
        chosen = _best(group, counts, params)
        lines = [
            f"{as_yaml(name)}: {as_yaml(chosen)}"
            for name, new in sorted(table.items())
            if new in group and new != chosen
        ]
        sources = [name for name, new in sorted(table.items()) if new in group]
        places = ", ".join(_first(clips, name) for name in sources[:_SHOWN])
        yield (
            f"classes {' and '.join(map(quoted, group))} differ {_DIFFER} (first: {places}): set "
            f"dataset.map: {{{', '.join(lines)}}} (old name: new name), or rename them in the data"
        )


def _best(group: Sequence[str], counts: Mapping[str, int], params: DatasetParams) -> str:
    """Choose the spelling to keep: one the user listed, a clean one, the most frequent one."""
    return min(
        group,
        key=lambda name: (name not in params.classes, name != cleaned(name), -counts[name], name),
    )


def _people_alike(clips: Sequence[ListedClip]) -> Iterator[str]:
    first: dict[str, dict[str, str]] = {}
    for clip in clips:
        for column, name in clip.names_of_people().items():
            first.setdefault(column, {}).setdefault(name, clip.where or clip.path)
    for column, names in first.items():
        for group in spelled_alike(names):
            places = ", ".join(names[name] for name in group[:_SHOWN])
            danger = (
                ""
                if column.startswith("trait_")
                else ", and may be on both sides of a split though they are one"
            )
            what = f"{column}s" if column in ("subject", "group") else f"values of {column}"
            yield (
                f"{what} {' and '.join(map(quoted, group))} differ {_DIFFER} (first: "
                f"{places}){danger}: write one of them throughout, or names that differ more"
            )


def _first(clips: Sequence[ListedClip], name: str) -> str:
    return next(clip.where or clip.path for clip in clips if name in clip.classes)
