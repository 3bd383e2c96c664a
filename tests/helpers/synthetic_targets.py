"""The synthetic data set with action units of frames, or valence and arousal of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.targets import TARGETS, TargetTable, read_targets, write_targets
from helpers.synthetic_data import CLASSES, FRAMES, small_params, write_data

# valence and arousal by class, as the clip's class adds its signal
AFFECT = {"anger": (-0.7, 0.6), "joy": (0.8, 0.4), "neutral": (0.0, -0.3)}


def with_targets(root: Path, *, frames: bool) -> None:
    """Write the data set with action units of frames, or valence and arousal of clips. The first
    frame of each clip is not annotated, and au_2 of every fourth one."""
    write_data(root)
    clips = read_manifest(root / "data/manifest.parquet").clips
    names = ["au_1", "au_2", "au_4"] if frames else ["valence", "arousal"]
    ids, index, values = [], [], []
    for number, clip in enumerate(clips):
        for frame in range(1, FRAMES) if frames else (-1,):
            ids.append(clip.clip_id)
            index.append(frame)
            row = list(AFFECT[clip.label or ""])
            if frames:
                row = [float(clip.label == name) for name in CLASSES]
                row[1] = np.nan if number % 4 == 0 else row[1]
            values.append(row)
    table = TargetTable(names, np.array(ids, object), np.array(index), np.array(values, np.float32))
    write_targets(table, root / "data/targets.parquet")


def task_params(kind: str, *, train: dict[str, object] | None = None, **task: object) -> Params:
    """A small network of a task; `train` are settings of training."""
    params = small_params(window=4, stride=4, **(train or {}))
    settings = params.model_dump() | {"task": {"kind": kind, **task}}
    return Params.model_validate(settings)


def several_targets(root: Path) -> None:
    """Write the data set with classes and, of clips, valence and arousal, and two action units.

    Of every second repetition (`-1`) valence and arousal are not annotated, of the third subject
    neither the first unit.
    """
    with_targets(root, frames=False)
    table = read_targets(root / TARGETS)
    labels = [clip.split("-")[1] for clip in table.clip_id]
    units = np.array([[float(label == one) for one in CLASSES[:2]] for label in labels], np.float32)
    units[[clip.startswith("s2-") for clip in table.clip_id], 0] = np.nan
    table.values[[clip.endswith("-1") for clip in table.clip_id]] = np.nan
    values = np.concatenate([table.values, units], axis=1)
    names = [*table.names, "au_1", "au_2"]
    write_targets(TargetTable(names, table.clip_id, table.frame_index, values), root / TARGETS)


def clips_and_frames(root: Path) -> None:
    """Write the data set with classes, valence and arousal of clips, and action units of frames."""
    with_targets(root, frames=False)
    affect = read_targets(root / TARGETS)
    with_targets(root, frames=True)
    units = read_targets(root / TARGETS)
    names = [*affect.names, *units.names]
    values = np.full((len(affect.values) + len(units.values), len(names)), np.nan, np.float32)
    values[: len(affect.values), : len(affect.names)] = affect.values
    values[len(affect.values) :, len(affect.names) :] = units.values
    clip_id = np.concatenate([affect.clip_id, units.clip_id])
    index = np.concatenate([affect.frame_index, units.frame_index])
    write_targets(TargetTable(names, clip_id, index, values), root / TARGETS)
