"""`arpgnet export --check`: compare an exported file with the predictions of training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams, TrainParams
from arpgnet.pipeline.export.parity import TOLERANCE
from arpgnet.pipeline.export.traceable import output_name
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from arpgnet.pipeline.tables.predictions import (
    EXPRESSION,
    NETWORK,
    PREDICTIONS,
    Predictions,
    TargetPredictions,
    kind_of_predictions,
    read_any_predictions,
)
from arpgnet.pipeline.tables.thresholds import FIXED, THRESHOLDED
from arpgnet.pipeline.training.data import load
from arpgnet.pipeline.training.tasks import Task, Views, make_task

# the training settings that decide what is shown to the network in evaluation
VIEWS = ("frames", "offsets", "window", "stride")


@dataclass(frozen=True)
class Checked:
    """The run, how many predictions were compared, the largest difference of a probability or
    value, and how many clips (or frames) are predicted differently: their class, or which action
    units are present."""

    run: str
    predictions: int
    difference: float
    predicted_differently: int

    @property
    def ok(self) -> bool:
        return self.difference <= TOLERANCE and not self.predicted_differently


def check(file: Path, root: Path = Path()) -> Checked:
    """Run the stored clips through the file, view by view at their own length.

    Every validation and test prediction of the file's run is compared, of clips or of labeled
    frames; of a refitted one those of the test part, because the others are from before. Training
    padded views to a common length and ran in batches: the check covers that this makes no
    difference.

    Raises:
        UserError: the file is not one of ours, or the stored data or predictions are not its run's.
    """
    session = make_session(file)
    properties = session.get_modelmeta().custom_metadata_map
    try:
        run, outputs, params = (json.loads(properties[key]) for key in ("run", "classes", "params"))
    except KeyError:
        raise UserError(f"{file} was not written by `arpgnet export`") from None
    # an older version exported expressions only
    kind = json.loads(properties.get("kind", f'"{EXPRESSION}"'))
    present = json.loads(properties.get("thresholds", str(FIXED)))
    rows, names, stored = _read(root / PREDICTIONS)
    mine = (rows.model == NETWORK) & (rows.fold == run["fold"]) & (rows.seed == run["seed"])
    if run.get("refitted"):
        mine &= rows.split == "test"
    mine &= ~np.isnan(stored).any(axis=1)
    rows, stored = rows.select(mine), stored[mine]
    if kind != kind_of_predictions(root / PREDICTIONS) or names != outputs or not len(stored):
        raise UserError(f"{root / PREDICTIONS} has no predictions of {run['name']} of {file}")
    task = TaskParams() if kind == EXPRESSION else TaskParams(kind=kind, targets=outputs)
    dataset, _ = load(read_manifest(root / MANIFEST), root, task=task)
    views = TrainParams.model_validate({name: params["train"][name] for name in VIEWS})
    found = predictions(session, make_task(dataset, views), rows)
    return Checked(
        run["name"],
        len(stored),
        float(np.abs(found - stored).max()),
        int(
            (_decisions(kind, found, present) != _decisions(kind, stored, present))
            .any(axis=1)
            .sum()
        ),
    )


def _read(path: Path) -> tuple[Predictions | TargetPredictions, list[str], np.ndarray]:
    """Return all rows, the names of the outputs, and what is predicted of them [rows, K]."""
    rows = read_any_predictions(path)
    if isinstance(rows, Predictions):
        return rows, rows.classes, rows.probabilities
    return rows, rows.names, rows.values


def _decisions(kind: str, values: np.ndarray, present: float | list[float]) -> np.ndarray:
    """Return what each row is decided to be, [rows, any]; nothing where values stay values.

    Args:
        present: from which probability on a unit counts as present, or each of them.
    """
    if kind == EXPRESSION:
        return values.argmax(axis=1)[:, None]
    return values >= np.array(present) if kind == THRESHOLDED else np.zeros((len(values), 0))


def predictions(session: Any, task: Task, rows: Predictions | TargetPredictions) -> np.ndarray:
    """Predict each row's clip or frame with the graph: float64 [rows, K].

    Raises:
        UserError: a clip has no features.
    """
    dataset = task.dataset
    wanted = set(rows.clip_id)
    clips = np.array([n for n, name in enumerate(dataset.clip_ids) if name in wanted])
    views = task.evaluation(clips)
    units = task.units(clips)
    combined = task.combine(clips, views, _of_views(session, task, views))
    index = [-1] * len(units) if units.frame_index is None else units.frame_index.tolist()
    place = {key: n for n, key in enumerate(zip(units.clip_id, index, strict=True))}
    asked = list(zip(rows.clip_id, rows.frame_index.tolist(), strict=True))
    absent = [clip for clip, frame in asked if (clip, frame) not in place]
    if absent:
        raise UserError(f"clip {absent[0]} has a prediction but no features: run `dvc repro`")
    return combined[[place[key] for key in asked]]


def _of_views(session: Any, task: Task, views: Views) -> np.ndarray:
    """Predict each view [V, K], or its frames [V, T, K] (padding: zeros)."""
    kind = task.dataset.kind
    names = [one.name for one in session.get_inputs()]
    found = []
    for rows_T in views.rows:
        inside = rows_T >= 0
        rows_1T = torch.from_numpy(rows_T[inside])[None]
        batch = task.dataset.features.take(rows_1T, torch.full((1,), -1)).tensors()
        inputs = {
            name: (batch[name] if batch[name].dtype == torch.bool else batch[name].float()).numpy()
            for name in names
        }
        if task.name == "clip":
            found.append(session.run([output_name(kind)], inputs)[0][0])
            continue
        logits_TK = torch.from_numpy(session.run(["frame_logits"], inputs)[0][0])
        view_TK = np.zeros((len(rows_T), logits_TK.shape[1]))
        view_TK[inside] = kind.values(logits_TK).numpy()
        found.append(view_TK)
    return np.stack(found).astype(np.float64)
