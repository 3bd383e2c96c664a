"""Which clips a fold trains, validates and tests on, as row numbers into the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.train.data import Dataset, class_counts

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Fold:
    """Row numbers (ascending int64 arrays) of a fold's clips; `lost` are labelled test clips
    that some stage has quarantined."""

    number: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    lost: list[str]

    def rows(self, part: Part) -> np.ndarray:
        return {"train": self.train, "val": self.val, "test": self.test}[part]


def read_folds(
    splits: pa.Table,
    labels: Mapping[str, int],
    dataset: Dataset,
    chosen: Literal["all"] | list[int],
) -> list[Fold]:
    """The folds of `train.folds`.

    Args:
        splits: `SPLITS_SCHEMA`.
        labels: class index of every labelled clip, quarantined ones too.

    Raises:
        UserError: a fold that the data does not have.
    """
    row_of = {clip: row for row, clip in enumerate(dataset.clip_ids)}
    parts: dict[int, dict[str, list[int]]] = {}
    lost: dict[int, list[str]] = {}
    columns = (splits[name].to_pylist() for name in ("clip_id", "fold", "split"))
    for clip, number, part in zip(*columns, strict=True):
        fold = parts.setdefault(number, {"train": [], "val": [], "test": []})
        if clip in row_of:
            fold[part].append(row_of[clip])
        elif part == "test" and clip in labels:
            lost.setdefault(number, []).append(clip)
    wanted = sorted(parts) if chosen == "all" else list(dict.fromkeys(chosen))
    strange = [number for number in wanted if number not in parts]
    if strange:
        raise UserError(
            f"train.folds: the data has no fold {strange[0]}; it has folds "
            f"{', '.join(map(str, sorted(parts)))}"
        )
    return [
        Fold(
            number,
            **{part: np.array(sorted(rows), np.int64) for part, rows in parts[number].items()},
            lost=lost.get(number, []),
        )
        for number in wanted
    ]


def check_fold(fold: Fold, dataset: Dataset, classes: Sequence[str]) -> None:
    """Refuse a fold that cannot be trained, selected or tested.

    Raises:
        UserError: it has no validation or test clip, or no training clip of a class.
    """
    advice = "see the quarantined clips in data/*/index.parquet, or choose fewer dataset.folds"
    for part in ("val", "test"):
        if not len(fold.rows(part)):
            raise UserError(f"fold {fold.number} has no usable {part} clip: {advice}")
    counts = class_counts(dataset.features.label[fold.train].tolist(), len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise UserError(
            f"fold {fold.number} has no usable training clip of class {empty[0]!r}: {advice}"
        )
