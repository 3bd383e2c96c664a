"""The stills that are learned from: refused ones left out, divided into train and validation.

N stills of the set, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.stills.crops import CropJob, make_crops, mapped_file, pixels
from arpgnet.pipeline.stills.refused import refusals
from arpgnet.pipeline.stills.stills import Listing, Still
from arpgnet.pipeline.stills.target import Target
from arpgnet.pipeline.store import folder_of


@dataclass(frozen=True)
class Stills:
    """The data of a fine-tuning run.

    Attributes:
        crops: uint8 [N, S, S, 3], RGB, in a file without a name; the rows of stills that
            were left out are black.
        label: int64 [N], or of action units float32 [N, K], NaN where not annotated.
        train, val: int64 rows.
        sums: sha256 of each still's file.
        left_out: reason -> count.
    """

    crops: np.ndarray
    label: np.ndarray
    train: np.ndarray
    val: np.ndarray
    sums: list[str]
    classes: list[str]
    left_out: dict[str, int]


def load_stills(
    listing: Listing,
    job: CropJob,
    target: Target,
    params: FinetuneParams,
    workers: int,
    limits: Limits,
) -> Stills:
    """Align every still, refuse those of the target data, and choose the parts.

    Raises:
        UserError: a class has too few stills left.
    """
    stills = listing.stills
    crops = mapped_file(len(stills), job.crop_px, folder_of(job.store))
    sums = [""] * len(stills)
    reasons: list[str | None] = [None] * len(stills)
    for start, chunk in make_crops(job, stills, workers, limits):
        rows = range(start, start + len(chunk))
        found = refusals([stills[row] for row in rows], chunk, target)
        for row, crop, reason in zip(rows, chunk, found, strict=True):
            sums[row], reasons[row] = crop.sha256, reason
            if reason is None:
                crops[row] = pixels(crop)
    left_out = Counter(listing.left_out) + Counter(reason for reason in reasons if reason)
    usable = [row for row, reason in enumerate(reasons) if reason is None]
    train, val = choose_parts(stills, sums, usable, params)
    classes = listing.classes
    if listing.units:
        label = np.array([still.units for still in stills], np.float32)
        learned = _learnable(label, train, val, classes, left_out)
        classes, label = [classes[unit] for unit in learned], label[:, learned]
    else:
        label = np.array([classes.index(still.label) for still in stills])
        _check(label, train, val, classes, left_out)
    return Stills(crops, label, train, val, sums, classes, dict(sorted(left_out.items())))


def choose_parts(
    stills: Sequence[Still], sums: Sequence[str], usable: Sequence[int], params: FinetuneParams
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows that train and that validate.

    The set's own validation part where it has one; else `val_fraction` of the people, or of the
    different files where nobody is named, drawn class by class.
    """
    if any(stills[row].part == "val" for row in usable):
        val = [row for row in usable if stills[row].part == "val"]
    else:
        groups: dict[str, list[int]] = {}
        for row in usable:
            groups.setdefault(stills[row].subject or sums[row], []).append(row)
        homes: dict[str, list[str]] = {}
        for name in sorted(groups):
            homes.setdefault(stills[groups[name][0]].label, []).append(name)
        rng = np.random.default_rng([params.seed, 11])
        val = []
        for label in sorted(homes):
            names = homes[label]
            count = max(1, round(params.val_fraction * len(names))) if len(names) > 1 else 0
            for place in rng.permutation(len(names))[:count]:
                val += groups[names[place]]
    validation = set(val)
    train = [row for row in usable if row not in validation]
    # an image that stands on both sides would be recognized, not understood
    seen = {sums[row] for row in val}
    train = [row for row in train if sums[row] not in seen]
    return np.array(train, dtype=np.int64), np.array(sorted(val), dtype=np.int64)


def _learnable(
    label: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    units: Sequence[str],
    left_out: Counter[str],
) -> list[int]:
    """Return the units that both parts show present and absent; count the others' annotations."""
    learned = []
    for unit, column in enumerate(label.T):
        if all((column[rows] == value).any() for rows in (train, val) for value in (0, 1)):
            learned.append(unit)
        elif count := int((~np.isnan(column)).sum()):
            left_out[f"annotations of {units[unit]}, of which a part has one value only"] += count
    if not learned:
        raise UserError(
            f"finetune: no action unit is both present and absent among the {len(train)} stills to "
            f"train on and the {len(val)} to validate with{_lost(left_out)}; add stills, or choose "
            "another finetune.val_fraction or seed"
        )
    return learned


def _lost(left_out: Counter[str]) -> str:
    said = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    return f" (left out: {said})" if said else ""


def _check(
    label: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    classes: Sequence[str],
    left_out: Counter[str],
) -> None:
    lost = _lost(left_out)
    if len(classes) < 2:
        raise UserError(f"finetune: the stills are of one class, {classes[0]}; two are needed")
    for part, rows in (("train on", train), ("validate with", val)):
        counts = np.bincount(label[rows], minlength=len(classes))
        if not counts.all():
            name = classes[int(counts.argmin())]
            raise UserError(
                f"finetune: no still of class '{name}' to {part}{lost}; add stills, or choose "
                "another finetune.val_fraction or seed"
            )
