"""Labels of clips and frames, as tables give them: a class, or a vector of target values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import Clip, Manifest, read_frame_label_table
from arpgnet.pipeline.tables.targets import TargetTable, read_targets


@dataclass(frozen=True)
class FrameLabels:
    """The labeled frames of a clip, in order: their numbers in the video (int64 [L]) and their
    classes (int64 [L], -1 for a frame that the data set's makers have left out), or their target
    values (float32 [L, A], NaN for one that is not annotated)."""

    index: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Labels:
    """What a task learns: the label of every labeled clip; where frames are labeled those of each
    clip's frames too, and the clip's own is blank."""

    of_clip: dict[str, Any]
    of_frames: dict[str, FrameLabels] | None


def blank_like(label: np.ndarray) -> int | float:
    """Return what stands for no label in an array of classes or of target values."""
    return float("nan") if np.issubdtype(label.dtype, np.floating) else -1


def known(label: np.ndarray) -> np.ndarray:
    """Return which entries have a label: of classes [...], of vectors [..., A] any of the values.

    Returns:
        bool [...].
    """
    if np.issubdtype(label.dtype, np.floating):
        some: np.ndarray = ~np.isnan(label).all(axis=-1)
        return some
    found: np.ndarray = label >= 0
    return found


def blanked(label: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return labels [...] or [..., A] that are blank where bool [...] is true."""
    found = label.copy()
    found[where] = blank_like(label)
    return found


def class_counts(labels: Sequence[int] | np.ndarray, classes: int) -> list[int]:
    """Count the labels of each class (-1: none)."""
    found = np.asarray(labels, dtype=np.int64)
    return np.bincount(found[found >= 0], minlength=classes).tolist()


def read_frame_labels(table: pa.Table) -> dict[str, FrameLabels] | None:
    """Read a table of `FRAME_LABELS_SCHEMA` by clip; None where empty: clips are labeled."""
    if not len(table):
        return None
    clip = table.column("clip_id").combine_chunks().dictionary_encode()
    code, names = clip.indices.to_numpy(), clip.dictionary.to_pylist()
    index = table.column("frame_index").to_numpy().astype(np.int64)
    label = table.column("label_index").to_numpy().astype(np.int64)
    return _by_clip(code, names, index, label)


def _by_clip(
    code: np.ndarray, names: Sequence[str], index: np.ndarray, label: np.ndarray
) -> dict[str, FrameLabels]:
    """Group rows by the number of their clip (int [R]), in order of frames."""
    order = np.lexsort((index, code))
    ends = np.searchsorted(code[order], np.arange(len(names) + 1))
    return {
        name: FrameLabels(index[order[start:end]], label[order[start:end]])
        for name, start, end in zip(names, ends[:-1], ends[1:], strict=True)
    }


def labels_of(
    clips: Sequence[Clip], table: pa.Table
) -> tuple[dict[str, int], dict[str, FrameLabels] | None]:
    """Return the class of every labeled clip, and None; where frames are labeled, -1 for each,
    and its frames' classes.

    Args:
        table: of `FRAME_LABELS_SCHEMA`.
    """
    frame_labels = read_frame_labels(table)
    if frame_labels is None:
        return {c.clip_id: c.label_index for c in clips if c.label_index is not None}, None
    nothing = FrameLabels(np.zeros(0, np.int64), np.zeros(0, np.int64))
    of_each = {c.clip_id: frame_labels.get(c.clip_id, nothing) for c in clips}
    return dict.fromkeys(of_each, -1), of_each


def class_labels(manifest: Manifest, root: Path) -> Labels:
    """Read the classes of clips or frames."""
    table = read_frame_label_table(root / "data/frame_labels.parquet")
    return Labels(*labels_of(manifest.clips, table))


@dataclass(frozen=True)
class TargetSet:
    """The names of a task's targets, and their values."""

    names: list[str]
    labels: Labels


def target_labels(manifest: Manifest, root: Path, pattern: str, wanted: Sequence[str]) -> TargetSet:
    """Read target values of clips or frames; those of frames where there are any.

    Args:
        pattern: regular expression of the columns that the task may learn.
        wanted: their names; empty: all that the data has.

    Raises:
        UserError: the data has no such values, or not those that are wanted.
    """
    table = read_targets(root / "data/targets.parquet")
    names = table.matching(pattern)
    absent = [name for name in wanted if name not in names]
    if absent or not names:
        there = ", ".join(table.names) or "none"
        what = f"task.targets: no clip has the target {absent[0]}" if absent else "no targets"
        raise UserError(f"{what}; {manifest.dataset} has {there}: see docs/tasks.md")
    chosen = list(wanted) or names
    rows = table.columns(chosen)
    of_frames = rows.frame_index >= 0
    if of_frames.any():
        rows = rows.select(of_frames)
    return TargetSet(chosen, _labels(manifest, rows, frames=bool(of_frames.any())))


def _labels(manifest: Manifest, rows: TargetTable, *, frames: bool) -> Labels:
    """Return the values of a table's rows by clip."""
    names = list(dict.fromkeys(rows.clip_id.tolist()))
    place: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    code = np.array([place[name] for name in rows.clip_id], np.int64)
    listed = {clip.clip_id for clip in manifest.clips}
    if not frames:
        of_clip = zip(rows.clip_id, rows.values, strict=True)
        return Labels({name: value for name, value in of_clip if name in listed}, None)
    grouped = _by_clip(code, names, rows.frame_index, rows.values)
    of_frames = {name: found for name, found in grouped.items() if name in listed}
    nothing = np.full(rows.values.shape[1], np.nan, np.float32)
    return Labels(dict.fromkeys(of_frames, nothing), of_frames)
