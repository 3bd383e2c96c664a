"""Which classes there are, in which order."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from pipeline.config import DatasetParams
from pipeline.datasets.base import ListedClip
from pipeline.errors import UserError


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
