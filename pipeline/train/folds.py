"""Which clips a fold trains, validates and tests on, as row numbers into the data set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.labels import known
from arpgnet.pipeline.training.tasks import Task

# clips, or windows of labeled frames
MOST_REFITTED = 2000

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Fold:
    """Numbers (ascending int64 arrays) of a fold's clips in the data set; `lost` are labeled test
    clips that some stage has quarantined."""

    number: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    lost: list[str]

    def clips(self, part: Part) -> np.ndarray:
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    @property
    def learned(self) -> np.ndarray:
        """The clips that may be learned from once selection is over: training and validation."""
        return np.sort(np.concatenate([self.train, self.val]))


def refits(params: TrainParams, task: Task, fold: Fold) -> bool:
    """Decide whether a fold's models are trained anew on training and validation.

    `auto`: where both have at most `MOST_REFITTED` examples. The more there are, the less a fifth
    more of them adds, and it takes as long again.
    """
    if params.refit != "auto":
        return params.refit
    return len(task.training(fold.learned, np.random.default_rng(0))) <= MOST_REFITTED


def read_folds(
    splits: pa.Table,
    labels: Collection[str],
    dataset: Dataset,
    chosen: Literal["all"] | list[int],
) -> list[Fold]:
    """Return the folds of `train.folds`.

    Args:
        splits: `SPLITS_SCHEMA`.
        labels: every labeled clip, quarantined ones too.

    Raises:
        UserError: a fold that the data does not have.
    """
    number_of = {clip: row for row, clip in enumerate(dataset.clip_ids)}
    parts: dict[int, dict[str, list[int]]] = {}
    lost: dict[int, list[str]] = {}
    columns = (splits[name].to_pylist() for name in ("clip_id", "fold", "split"))
    for clip, number, part in zip(*columns, strict=True):
        fold = parts.setdefault(number, {"train": [], "val": [], "test": []})
        if clip in number_of:
            fold[part].append(number_of[clip])
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
            **{part: np.array(sorted(clips), np.int64) for part, clips in parts[number].items()},
            lost=lost.get(number, []),
        )
        for number in wanted
    ]


def annotated(fold: Fold, task: Task) -> Fold:
    """Return a fold with the usable clips that a further task has labels of."""
    dataset = task.dataset
    if dataset.frame_labels is None:
        has = known(dataset.label)
    else:
        has = np.array([known(dataset.frame_labels[clip].label).any() for clip in dataset.clip_ids])
    parts = {part: fold.clips(part)[has[fold.clips(part)]] for part in PARTS}
    return replace(fold, **parts)


def check_fold(fold: Fold, task: Task, main: Task | None = None) -> None:
    """Refuse a fold that cannot be trained, selected or tested.

    Args:
        main: where `task` is a further one, the one whose views the network learns from.

    Raises:
        UserError: it has nothing to validate or test on, or an output has nothing to train on.
    """
    advice = "see the quarantined clips in data/*/index.parquet, or choose fewer dataset.folds"
    for part in ("val", "test"):
        clips = fold.clips(part)
        if not len(clips) or not len(task.units(clips)):
            raise UserError(f"fold {fold.number} has no usable {part} {task.name}: {advice}")
    taught = task.dataset.row_labels()[:0]
    if len(fold.train):
        taught = task.labels((main or task).training(fold.train, np.random.default_rng(0)))
    problem = task.dataset.kind.problem(taught)
    if problem:
        raise UserError(
            f"fold {fold.number} has no usable training {task.name} {problem}: {advice}"
        )
