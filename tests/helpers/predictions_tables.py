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


def write_units(
    root: Path, wrong: Mapping[int, Collection[str]], names: list[str] | None = None
) -> Path:
    """Write a run of two action units in the clips of `labels`: the first is present in every
    second clip, the second annotated in them alone, and present.

    Args:
        wrong: per seed the clips whose units are predicted the other way round.

    Returns:
        The predictions file.
    """
    truth = labels()
    people = [Clip(clip, f"{clip}.mp4", "00", subject=clip.split("-")[0]) for clip in truth]
    write_manifest(people, root / "data/manifest.parquet", classes=[], dataset="hand")
    clips = np.array(list(truth), dtype=object)
    even = np.array([label == 0 for label in truth.values()])
    target = np.stack([even, np.where(even, 1.0, np.nan)], axis=1).astype(np.float32)
    right = np.stack([even, np.ones(len(even))], axis=1)
    tables = []
    for seed, errors in wrong.items():
        flipped = np.array([clip in errors for clip in clips])[:, None]
        values = np.where(flipped, 1 - right, right) * 0.8 + 0.1
        tables.append(
            prediction_rows(
                Units(clips, target, None), values, model="arpgnet", fold=0, seed=seed, split="test"
            )
        )
    path = root / PREDICTIONS
    write_predictions(tables, names or ["au_1", "au_2"], path, kind="action_units")
    return path
