"""`dataset.map`: the classes of one data set in the words of another.

Which classes there are, in which order.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.datasets.frame_names import LEFT_OUT, FrameNames


def choose_classes(
    clips: Sequence[ListedClip], params: DatasetParams, order: Sequence[str] = ()
) -> tuple[list[str], dict[str, int]]:
    """The class names in label order, and how many clips show each excluded name.

    `dataset.classes: auto` is the data set's own order, and sorts names that it does not know; a
    list fixes the order and must name exactly the classes that are left after `dataset.exclude`.

    Args:
        order: the data set's own.

    Raises:
        UserError: a name without clips, clips without a name in the list, or one class only.
    """
    counts = Counter(name for clip in clips for name in sorted(clip.classes))
    for name in params.exclude:
        if name not in counts:
            raise UserError(f"dataset.exclude: no clip has the class '{name}'{_near(name, counts)}")
    kept = {name: count for name, count in counts.items() if name not in params.exclude}
    own = [name for name in order if name in kept]
    found = [*own, *sorted(set(kept) - set(own))]
    classes = found if params.classes == "auto" else list(params.classes)
    for name in sorted(kept):
        if name not in classes:
            first = next(clip for clip in clips if name in clip.classes)
            raise UserError(
                f"class '{name}' ({_clips(kept[name])}, first: {first.where}) is not in "
                f"dataset.classes{_near(name, classes)}; list it there, or in dataset.exclude "
                "to leave its clips out"
            )
    for name in classes:
        if name in params.exclude:
            raise UserError(f"'{name}' is in both dataset.classes and dataset.exclude")
        if name not in kept:
            raise UserError(f"dataset.classes: no clip has the class '{name}'{_near(name, kept)}")
    if len(classes) < 2:
        raise UserError(
            f"the data set has one class ({', '.join(classes) or 'none'}); two are needed at least"
        )
    return classes, {name: counts[name] for name in params.exclude}


def _near(name: str, names: Sequence[str] | dict[str, int]) -> str:
    folded = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"; nearest: '{folded[near[0]]}'" if near else ""


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


@dataclass(frozen=True)
class Mapped:
    """The clips that still have a class, and how many were left out, by reason."""

    clips: list[ListedClip]
    left_out: dict[str, int]


def map_classes(clips: Sequence[ListedClip], params: DatasetParams) -> Mapped:
    """Rename classes by `dataset.map`, then keep those that the run knows.

    Known are the names of `dataset.classes`; where that is `auto`, those of the corpora that are
    trained on; where there is one data set, all. What is not known is an error, or with
    `dataset.unmapped: drop` is left out and counted. A name that is mapped to nothing is left out
    and counted.

    Raises:
        UserError: the map names a class that no clip has, or a class is not known.
    """
    shown = {name for clip in clips for name in clip.classes}
    for name in params.map:
        if name not in shown:
            near = difflib.get_close_matches(name, sorted(shown), n=1)
            hint = f"; nearest: '{near[0]}'" if near else ""
            raise UserError(f"dataset.map: no clip has the class '{name}'{hint}")
    table: dict[str, str | None] = {name: params.map.get(name, name) for name in shown}
    known = _known(clips, table, params)
    unknown = {name for name in shown if known is not None and table[name] not in {*known, None}}
    if unknown and params.unmapped == "error":
        name = min(unknown)
        first = next(clip for clip in clips if name in clip.classes)
        there = ", ".join(sorted(one for one in known or () if one))
        raise UserError(
            f"class '{name}' of {first.corpus or 'the data set'} (first: {first.where}) is none of "
            f"{there}: give it a class in dataset.map (null leaves its clips out), or set "
            "dataset.unmapped=drop"
        )
    why = {name: f"class {name} is mapped to nothing" for name in shown if table[name] is None}
    why |= {name: f"class {name} is not mapped (dataset.unmapped: drop)" for name in unknown}
    for name in why:
        table[name] = None
    left_out: Counter[str] = Counter()
    kept = []
    for clip in clips:
        if clip.frames is not None:
            # a frame without a class is part of its video still
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
    """The classes of the run, `dataset.exclude` among them; None: whatever there is."""
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
