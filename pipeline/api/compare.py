"""Predictions of a network of one's own, in the form that runs are compared in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams
from arpgnet.pipeline.common.params_file import PARAMS_FILE, load_params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.compare import run
from arpgnet.pipeline.compare.sources import read_side
from arpgnet.pipeline.compare.table import sentences
from arpgnet.pipeline.report.score_names import SCORE_NAMES, deciding
from arpgnet.pipeline.tables.manifest import (
    MANIFEST,
    SPLITS,
    read_manifest,
    read_splits,
)
from arpgnet.pipeline.tables.predictions import (
    EXPRESSION,
    Units,
    prediction_rows,
    write_predictions,
)
from arpgnet.pipeline.training.kinds import read_task
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.labels import FrameLabels, known

Folder = str | PathLike[str]
SUM = 1e-3  # how far from 1 the probabilities of a row may add up to


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same test clips.

    Attributes:
        numbers: everything, as `arpgnet compare --json` writes it.
    """

    numbers: dict[str, Any]

    @property
    def scores(self) -> pd.DataFrame:
        """Return a row per score (`uar`, `war`, `macro_f1`, or those of the task): `a`, `b`, their
        difference (B minus A) with its interval, and p."""
        rows = {
            name: {"a": one["a"]["mean"], "b": one["b"]["mean"]}
            | {"difference": one["difference"]["mean"]}
            | {key: one["difference"][key] for key in ("ci_low", "ci_high", "p")}
            for name, one in self.numbers["scores"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        first = deciding(self.numbers["scores"])
        score = self.scores.loc[first]
        names = f"A {self.numbers['a']['name']}, B {self.numbers['b']['name']}"
        return (
            f"{names}, {self.numbers['units']} {self.numbers['scored']}: {SCORE_NAMES[first]} "
            f"{score['a']:.3f} and {score['b']:.3f}, difference {score['difference']:+.3f} "
            f"[{score['ci_low']:+.3f}, {score['ci_high']:+.3f}]. {next(sentences(self.numbers))}"
        )


def compare(a: Folder, b: Folder, root: Folder = ".", *, common: bool = False) -> Comparison:
    """Compare two runs as `arpgnet compare` does, by the workspace's `evaluate` settings.

    Args:
        a, b: `workspace`, a predictions file, a Git revision or a DVC experiment.
        root: the workspace.
        common: compare on the test clips that both have, instead of refusing.

    Raises:
        UserError: a run is absent, or the two cannot be paired.
    """
    root = Path(root)
    settings = load_params(root / PARAMS_FILE).evaluate
    side_a, side_b = read_side(fspath(a), root), read_side(fspath(b), root)
    return Comparison(run.compare(side_a, side_b, settings, common=common))


def save_predictions(
    table: pd.DataFrame, path: Folder, root: Folder = ".", *, model: str = "own"
) -> Path:
    """Write a network's predictions of test clips as a file that `arpgnet compare` takes.

    Labels come from the workspace. A test clip of a fold that the table does not have is written
    without a prediction, as one of ARPGNet's without a face: it counts as wrong.

    Args:
        table: columns `clip` and `p_<class>` for each class, whose rows sum to 1, or, of another
            task (`task.kind` of the workspace), a column for each target; where frames are labeled
            also `frame_index`; `fold` and `seed` where they are not 0.
        path: of the file.
        root: the workspace whose clips these are.
        model: its name in the file.

    Returns:
        The path.

    Raises:
        UserError: a column is absent, a clip is no test clip of its fold or is listed twice, or the
            values are no probabilities, or not on the targets' scale.
    """
    root, path = Path(root), Path(path)
    kind, labels = read_task(_task(root), read_manifest(root / MANIFEST), root)
    clip_labels, frame_labels = labels.of_clip, labels.of_frames
    of_classes = kind.name == EXPRESSION
    columns = [f"p_{name}" if of_classes else name for name in kind.outputs]
    keys = ["clip"] if frame_labels is None else ["clip", "frame_index"]
    values = _check(table, columns, keys)
    (_check_shares if of_classes else partial(_check_range, kind))(values)
    splits = read_splits(root / SPLITS).to_pandas()
    tests = splits[(splits["split"] == "test") & splits["clip_id"].isin(list(clip_labels))]
    numbers = [_numbers(table, name) for name in ("fold", "seed")]
    written = []
    for fold, seed in sorted(set(zip(*numbers, strict=True))):
        rows = table[(numbers[0] == fold) & (numbers[1] == seed)]
        clips = tests["clip_id"][tests["fold"] == fold].tolist()
        _belong(rows, clips, keys, fold)
        units = _units(clips, clip_labels, frame_labels)
        asked = pd.DataFrame({"clip": units.clip_id})
        if units.frame_index is not None:
            asked["frame_index"] = units.frame_index
        predicted = asked.merge(rows[[*keys, *columns]], "left", on=keys)[columns]
        where: dict[str, Any] = {"model": model, "fold": fold, "seed": seed, "split": "test"}
        written.append(prediction_rows(units, predicted.to_numpy(np.float64), **where))
    write_predictions(written, kind.outputs, path, kind.name)
    return path


def _task(root: Path) -> TaskParams:
    """Return the workspace's task; of a folder without settings, expressions."""
    path = root / PARAMS_FILE
    return load_params(path).task if path.is_file() else TaskParams()


def _units(
    clips: list[str], labels: Mapping[str, Any], frames: Mapping[str, FrameLabels] | None
) -> Units:
    """Return the clips, or their labeled frames, with their labels."""
    if frames is None:
        return Units(np.array(clips, object), np.array([labels[clip] for clip in clips]), None)
    each = [frames[clip] for clip in clips]
    names = np.repeat(np.array(clips, object), [len(one.index) for one in each])
    label = np.concatenate([one.label for one in each])
    scored = known(label)
    index = np.concatenate([one.index for one in each])
    return Units(names[scored], label[scored], index[scored])


def _check(table: pd.DataFrame, columns: list[str], keys: list[str]) -> np.ndarray:
    """Return the values of the rows that have any, float64 [rows, K]."""
    missing = [name for name in [*keys, *columns] if name not in table]
    if missing:
        raise UserError(
            f"the table of predictions has no column {', '.join(missing)}: it needs "
            f"{', '.join([*keys, *columns])}"
        )
    if table.empty:
        raise UserError("the table of predictions has no rows")
    try:
        values = table[columns].to_numpy(np.float64)
    except (TypeError, ValueError):
        raise UserError("the table of predictions has values that are not numbers") from None
    found: np.ndarray = values[~np.isnan(values).any(axis=1)]
    return found


def _check_range(kind: Kind, values: np.ndarray) -> None:
    low, high = kind.range
    if not ((values >= low) & (values <= high)).all():
        raise UserError(f"the values of {', '.join(kind.outputs)} must be from {low:g} to {high:g}")


def _check_shares(values: np.ndarray) -> None:
    if not ((values >= 0).all() and np.abs(values.sum(axis=1) - 1).max(initial=0) <= SUM):
        raise UserError(
            "the values in p_<class> are not probabilities (0 to 1, with the sum 1 in each row): "
            "apply a softmax to logits"
        )


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of whole numbers; zeros where it is absent."""
    if name not in table:
        return np.zeros(len(table), np.int64)
    try:
        return table[name].to_numpy(np.int64)
    except (TypeError, ValueError):
        raise UserError(
            f"the column {name} of the table has a value that is not a whole number"
        ) from None


def _belong(rows: pd.DataFrame, clips: list[str], keys: list[str], fold: int) -> None:
    if not clips:
        raise UserError(f"there is no fold {fold} with test clips in this workspace")
    strange = sorted(set(rows["clip"]) - set(clips))
    if strange:
        raise UserError(
            f"{plural(len(strange), 'clip')} of the table not in the test part of fold {fold} "
            f"(first: {strange[0]}): only what was not trained on can be compared"
        )
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        raise UserError(f"clip {twice['clip'].iloc[0]} is listed twice in fold {fold}")
