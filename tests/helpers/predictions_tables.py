"""Prediction tables made by hand: who is right about which clip."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from arpgnet.pipeline.tables.manifest import Clip, write_manifest
from arpgnet.pipeline.tables.predictions import (
    PREDICTIONS,
    Units,
    prediction_rows,
    write_predictions,
)

CLASSES = ["calm", "glad"]
UNITS = ["au_4", "au_12"]
SUBJECTS, CLIPS = 6, 4


def labels() -> dict[str, int]:
    """Six subjects of two calm and two glad clips each: `s<subject>-<clip>`."""
    return {f"s{s}-{k}": k % 2 for s in range(SUBJECTS) for k in range(CLIPS)}


def units(clips: list[str], truth: Mapping[str, int], frame: int | None = None) -> Units:
    """The clips themselves, or one frame of each."""
    label = np.array([truth[clip] for clip in clips], np.int64)
    index = None if frame is None else np.full(len(clips), frame)
    return Units(np.array(clips, dtype=object), label, index)


def write_run(
    root: Path,
    wrong: Mapping[int, Collection[str]],
    *,
    truth: Mapping[str, int] | None = None,
    lost: Collection[str] = (),
    classes: list[str] = CLASSES,
    confidence: Mapping[int, float] | None = None,
    frames: Mapping[int, bool] | None = None,
) -> Path:
    """Write a manifest and a predictions file under `root`.

    Args:
        wrong: per seed the clips it names wrongly.
        truth: label of each clip, `labels()` unless told.
        lost: clips without a prediction.
        confidence: per seed the probability of the class it predicts, 0.8 unless told.
        frames: the labeled frames of each clip, and whether they are named wrongly; else whole
            clips are predicted.

    Returns:
        The predictions file.
    """
    truth = labels() if truth is None else truth
    people = [
        Clip(clip, f"{clip}.mp4", "00", label_index=k, subject=clip.split("-")[0])
        for clip, k in truth.items()
    ]
    write_manifest(people, root / "data/manifest.parquet", classes=classes, dataset="hand")
    tables = []
    for seed, errors in wrong.items():
        high = (confidence or {}).get(seed, 0.8)
        for fold in (0, 1):
            where = {"model": "arpgnet", "fold": fold, "seed": seed, "split": "test"}
            mine = [clip for clip in truth if int(clip[1]) % 2 == fold]
            known = [clip for clip in mine if clip not in lost]
            gone = [clip for clip in mine if clip in lost]
            for frame, flawed in (frames or {None: False}).items():
                named = np.array([truth[c] ^ (c in errors or flawed) for c in known])
                values = np.where(np.arange(2) == named[:, None], high, 1 - high)
                tables.append(prediction_rows(units(known, truth, frame), values, **where))
            if gone:
                tables.append(prediction_rows(units(gone, truth), None, **where))
    write_predictions(tables, classes, root / PREDICTIONS)
    return root / PREDICTIONS


def write_target_run(
    root: Path,
    noise: float,
    *,
    kind: str = "action_units",
    names: list[str] = UNITS,
    seeds: tuple[int, ...] = (0,),
    blank: bool = True,
) -> Path:
    """Write a manifest and predictions of target values: the truth and noise of this size, which is
    drawn for each seed; one value is not annotated, unless `blank` is false.

    Returns:
        The predictions file.
    """
    clips = list(labels())
    people = [Clip(clip, f"{clip}.mp4", "00", subject=clip.split("-")[0]) for clip in clips]
    write_manifest(people, root / "data/manifest.parquet", classes=[], dataset="hand")
    rng = np.random.default_rng(0)
    target = rng.random((len(clips), len(names))).round().astype(np.float32)
    if blank:
        target[3, 0] = np.nan
    tables = []
    for seed in seeds:
        drawn = np.random.default_rng(seed).normal(size=target.shape)
        values = np.clip(np.nan_to_num(target) + noise * drawn, 0, 1)
        for fold in (0, 1):
            mine = np.array([int(clip[1]) % 2 == fold for clip in clips])
            for split, rows in (("test", mine), ("val", ~mine)):
                where = {"model": "arpgnet", "fold": fold, "seed": seed, "split": split}
                units = Units(np.array(clips, dtype=object)[rows], target[rows], None)
                tables.append(prediction_rows(units, values[rows], **where))
    write_predictions(tables, names, root / PREDICTIONS, kind)
    return root / PREDICTIONS
