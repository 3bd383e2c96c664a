"""`arpgnet export --check`: an exported file against the predictions that training wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.clips import MANIFEST, read_manifest
from pipeline.config import TrainParams
from pipeline.errors import UserError
from pipeline.export.parity import TOLERANCE
from pipeline.faces.sessions import make_session
from pipeline.train.predictions import NETWORK, PREDICTIONS, Predictions, read_predictions
from pipeline.train.run import load
from pipeline.train.tasks import Task, make_task


@dataclass(frozen=True)
class Checked:
    """The run, how many predictions were compared, the largest difference of a probability, and
    how many clips are named otherwise."""

    run: str
    clips: int
    difference: float
    named_otherwise: int

    @property
    def ok(self) -> bool:
        return self.difference <= TOLERANCE and not self.named_otherwise


def check(file: Path, root: Path = Path()) -> Checked:
    """Run the stored clips through the file, view by view at their own length.

    Every validation and test clip of the file's run is compared. Training padded clips to a common
    length and worked in batches: that this changes nothing is part of the check.

    Raises:
        UserError: the file is not one of ours, or the stored data or predictions are not its run's.
    """
    session = make_session(file)
    facts = session.get_modelmeta().custom_metadata_map
    try:
        run, classes = json.loads(facts["run"]), json.loads(facts["classes"])
    except KeyError:
        raise UserError(f"{file} was not written by `arpgnet export`") from None
    rows = read_predictions(root / PREDICTIONS)
    mine = (rows.model == NETWORK) & (rows.fold == run["fold"]) & (rows.seed == run["seed"])
    rows = rows.select(mine & (rows.predicted >= 0))
    if rows.classes != classes or not len(rows.clip_id):
        raise UserError(f"{root / PREDICTIONS} has no predictions of {run['name']} of {file}")
    dataset, _ = load(read_manifest(root / MANIFEST), root)
    task = make_task(dataset, train_params(json.loads(facts["params"])))
    try:
        found = probabilities(session, task, rows)
    except KeyError as error:
        raise UserError(f"clip {error} has a prediction but no features: run `dvc repro`") from None
    return Checked(
        run["name"],
        len(rows.clip_id),
        float(np.abs(found - rows.probabilities).max()),
        int((found.argmax(axis=1) != rows.predicted).sum()),
    )


def train_params(params: dict[str, Any]) -> TrainParams:
    """The `train` section that the run was made with: it says which frames are seen together."""
    kept = {key: value for key, value in params["train"].items() if key in TrainParams.model_fields}
    return TrainParams.model_validate(kept)


def probabilities(session: Any, task: Task, rows: Predictions) -> np.ndarray:
    """What the graph says of each row's clip or frame: float32 [rows, K]."""
    place = {clip: number for number, clip in enumerate(task.dataset.clip_ids)}
    found: dict[tuple[str, int], np.ndarray] = {}
    for clip in dict.fromkeys(rows.clip_id):
        here = np.array([place[clip]])
        views = task.evaluation(here)
        said = np.stack([_view(session, task, view) for view in views.rows])
        frames = task.units(here).frame_index
        keys = [-1] if frames is None else frames.tolist()
        combined = task.combine(here, views, said).astype(np.float32)
        found |= {(clip, frame): row for frame, row in zip(keys, combined, strict=True)}
    return np.stack([found[key] for key in zip(rows.clip_id, rows.frame_index, strict=True)])


def _view(session: Any, task: Task, rows_T: np.ndarray) -> np.ndarray:
    """Probabilities of a view, [K], or of its frames, [T, K]; without the padding of its end."""
    names = [given.name for given in session.get_inputs()]
    length = int((rows_T >= 0).sum())
    batch = task.dataset.features.take(torch.from_numpy(rows_T[None, :length]), torch.zeros(1))
    inputs = {
        name: (value if value.dtype == torch.bool else value.float()).numpy()
        for name, value in batch.tensors().items()
        if name in names
    }
    clip_K, frames_TK = (part[0] for part in session.run(["probabilities", "frame_logits"], inputs))
    if task.name == "clip":
        return clip_K
    whole = np.full((len(rows_T), frames_TK.shape[1]), np.nan)
    whole[:length] = torch.from_numpy(frames_TK).softmax(-1).numpy()
    return whole
