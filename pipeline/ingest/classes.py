"""The classes of a run, in order; and `dataset.map`, which renames classes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.common.wording import joined, plural
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.datasets.frame_names import LEFT_OUT, FrameNames
from arpgnet.pipeline.datasets.spelling import quoted, spelling_key
from arpgnet.pipeline.ingest.names import doubtful_names, missing_frame_names


def choose_classes(
    clips: Sequence[ListedClip], params: DatasetParams, order: Sequence[str] = ()
) -> tuple[list[str], dict[str, int]]:
    """Return the class names in label order, and the number of clips of each excluded name.

    `dataset.classes: auto` uses the data set's own order, and sorts other names; a list fixes the
    order and must name exactly the classes that remain after `dataset.exclude`.

    Args:
        order: the data set's own order.

    Raises:
        UserError: a name without clips, clips without a name in the list, or one class only.
    """
    counts = Counter(name for clip in clips for name in sorted(clip.classes))
    _refuse(
        f"dataset.exclude: no clip has the class '{name}'{_near(name, counts)}"
        for name in params.exclude
        if name not in counts
    )
    kept = {name: count for name, count in counts.items() if name not in params.exclude}
    own = [name for name in order if name in kept]
    found = [*own, *sorted(set(kept) - set(own))]
    classes = found if params.classes == "auto" else list(params.classes)
    unlisted = [name for name in sorted(kept) if name not in classes]
    first = {name: next(clip for clip in clips if name in clip.classes) for name in unlisted}
    if unlisted:
        what = (
            f"class '{name}' ({plural(kept[name], 'clip')}, first: {first[name].where}) is not in "
            f"dataset.classes{_near(name, classes)}"
            for name in unlisted
        )
        raise UserError(
            f"{joined(list(what))}; list {_them(unlisted)} there, or in dataset.exclude to leave "
            f"the clips out"
        )
    _refuse(
        f"'{name}' is in both dataset.classes and dataset.exclude"
        if name in params.exclude
        else f"dataset.classes: no clip has the class '{name}'{_near(name, kept)}"
        for name in classes
        if name in params.exclude or name not in kept
    )
    if not counts and any(clip.targets for clip in clips):
        return [], {}
    if len(classes) < 2:
        raise UserError(
            f"at least two classes are needed; the data set has {', '.join(classes) or 'none'}"
        )
    return classes, {name: counts[name] for name in params.exclude}


def _refuse(faults: Iterable[str]) -> None:
    found = list(faults)
    if found:
        raise UserError(joined(found))


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _near(name: str, names: Sequence[str] | dict[str, int]) -> str:
    folded = {spelling_key(other): other for other in names}
    near = difflib.get_close_matches(spelling_key(name), folded, n=1, cutoff=0.5)
    if not near:
        return ""
    other = folded[near[0]]
    # the other Unicode form of a name looks like it
    same = near[0] == spelling_key(name) and not (name.isascii() and other.isascii())
    return f"; nearest: {ascii(other) if same else quoted(other)}"


@dataclass(frozen=True)
class Mapped:
    """The clips that still have a class, and how many were left out, by reason."""

    clips: list[ListedClip]
    left_out: dict[str, int]


def map_classes(clips: Sequence[ListedClip], params: DatasetParams) -> Mapped:
    """Rename classes by `dataset.map`, then keep those of the run.

    These are the names of `dataset.classes`; if that is `auto`, those of the training corpora; with
    a single data set, all. Others are an error, or with `dataset.unmapped: drop` left out and
    counted. A name that is mapped to null is left out and counted.

    Raises:
        UserError: the map names a class that no clip has, a class is not known, or a name is
            doubtful (`doubtful_names`).
    """
    shown = {name for clip in clips for name in clip.classes}
    _refuse(
        f"dataset.map: no clip has the class {quoted(name)}{_near(name, sorted(shown))}"
        for name in params.map
        if name not in shown
    )
    _refuse(doubtful_names(clips, params))
    missing = missing_frame_names(clips, params)
    table: dict[str, str | None] = {name: params.map.get(name, name) for name in shown}
    table |= dict.fromkeys(missing)
    known = _known(clips, table, params)
    unknown = {name for name in shown if known is not None and table[name] not in {*known, None}}
    if unknown and params.unmapped == "error":
        there = ", ".join(sorted(one for one in known or () if one))
        what = []
        for name in sorted(unknown):
            first = next(clip for clip in clips if name in clip.classes)
            corpus = first.corpus or "the data set"
            what.append(f"class '{name}' of {corpus} (first: {first.where}) is not one of {there}")
        raise UserError(
            f"{joined(what)}: map {_them(what)} in dataset.map (null leaves the clips out), or set "
            "dataset.unmapped=drop"
        )
    why = {name: f"class {name} is mapped to null" for name in shown if table[name] is None}
    why |= {name: f"{quoted(name)} is a missing value" for name in missing}
    why |= {name: f"class {name} is not mapped (dataset.unmapped: drop)" for name in unknown}
    for name in why:
        table[name] = None
    left_out: Counter[str] = Counter()
    kept = []
    for clip in clips:
        if clip.frames is not None:
            # a frame without a class remains part of its video
            left_out.update(
                {f"frames: {why[name]}": clip.frames.count(name) for name in clip.classes & {*why}}
            )
            kept.append(replace(clip, frames=_renamed(clip.frames, table)))
        elif clip.label is not None and table[clip.label] is None:
            left_out[why[clip.label]] += 1
        else:
            kept.append(replace(clip, label=clip.label and table[clip.label]))
    return Mapped(kept, dict(sorted(left_out.items())))


def _known(
    clips: Sequence[ListedClip], table: Mapping[str, str | None], params: DatasetParams
) -> set[str | None] | None:
    """Return the classes of the run, including `dataset.exclude`; None: all."""
    if params.classes != "auto" and (params.name == "cross" or params.unmapped == "drop"):
        return {*params.classes, *params.exclude}
    if params.name != "cross":
        return None
    trained = (clip.classes for clip in clips if clip.split != "test")
    return {table[name] for names in trained for name in names} | {*params.exclude}


def _renamed(frames: FrameNames, table: Mapping[str, str | None]) -> FrameNames:
    names = tuple(sorted({new for name in frames.names if (new := table.get(name, name))}))
    place = {name: code for code, name in enumerate(names)}
    codes = [place.get(table.get(name, name) or "", LEFT_OUT) for name in frames.names]
    return FrameNames(names, np.array([*codes, LEFT_OUT], np.int16)[frames.codes])
