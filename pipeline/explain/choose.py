"""Which test clips are explained, each for the network that was not trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.predictions import Predictions
from arpgnet.pipeline.training.state import read_info


def runs_by_fold(root: Path) -> dict[int, Path]:
    """Find the folder of each fold's run with the lowest seed.

    Raises:
        UserError: there is no run.
    """
    found: dict[int, tuple[int, Path]] = {}
    for file in sorted((root / RUNS).glob("*/model.safetensors")):
        info = read_info(file)
        run = (int(info["seed"]), file.parent)
        found[info["fold"]] = min(run, found.get(info["fold"], run))
    if not found:
        raise UserError(f"{root / RUNS} holds no trained network: run `dvc repro train` first")
    return {fold: found[fold][1] for fold in sorted(found)}


def tested(splits: pa.Table, folds: Iterable[int], usable: Iterable[str]) -> dict[str, int]:
    """Map each usable test clip to the first of the folds that tests it, in order of `splits`."""
    wanted, known = set(folds), set(usable)
    found: dict[str, int] = {}
    columns = (splits[name].to_pylist() for name in ("clip_id", "fold", "split"))
    for clip, fold, part in zip(*columns, strict=True):
        if part == "test" and fold in wanted and clip in known:
            found[clip] = min(fold, found.get(clip, fold))
    return found


def choose(clips: Sequence[str], labels: Mapping[str, int], most: int) -> list[str]:
    """Draw at most `most` clips per class (of videos with labeled frames: at most `most`).

    The seed is fixed, the order is kept.
    """
    rng = np.random.default_rng(0)
    chosen: set[str] = set()
    for label in sorted({labels[clip] for clip in clips}):
        mine = [clip for clip in clips if labels[clip] == label]
        chosen |= {mine[number] for number in rng.permutation(len(mine))[:most]}
    return [clip for clip in clips if clip in chosen]


def confused(rows: Predictions, most: int) -> dict[tuple[int, int], int]:
    """Return the largest off-diagonal cells (label, predicted) of the confusion matrix, and counts.

        Args:
            rows: one model's test predictions, of all folds and seeds.
    most: maximum number of pairs.
    """
    wrong = (rows.label >= 0) & (rows.predicted >= 0) & (rows.label != rows.predicted)
    counts = Counter(zip(rows.label[wrong].tolist(), rows.predicted[wrong].tolist(), strict=True))
    ranked = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return {pair: counts[pair] for pair in ranked[:most]}


def confused_clips(
    rows: Predictions,
    pairs: Iterable[tuple[int, int]],
    fold_of: Mapping[str, int],
    most: int,
) -> set[str]:
    """Draw at most `most` clips per pair that the explained networks confuse, with a fixed seed.

    Args:
        rows: as for `confused`.
        fold_of: each clip's explained fold; its network is the one with the lowest seed.
    """
    first = {fold: rows.seed[rows.fold == fold].min() for fold in np.unique(rows.fold)}
    mine = np.array(
        [
            fold_of.get(clip) == fold and seed == first[fold]
            for clip, fold, seed in zip(rows.clip_id, rows.fold, rows.seed, strict=True)
        ],
        dtype=bool,
    )
    rng = np.random.default_rng(0)
    found: set[str] = set()
    for label, predicted in pairs:
        cell = mine & (rows.label == label) & (rows.predicted == predicted)
        clips = sorted(set(rows.clip_id[cell]))
        found |= {clips[number] for number in rng.permutation(len(clips))[:most]}
    return found
