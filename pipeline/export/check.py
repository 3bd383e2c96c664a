"""`arpgnet export --check`: an exported file against the predictions that training wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.clips import MANIFEST, read_manifest
from pipeline.errors import UserError
from pipeline.export.parity import TOLERANCE
from pipeline.faces.sessions import make_session
from pipeline.shards import ShardReader
from pipeline.train.data import Dataset, load_dataset
from pipeline.train.predictions import NETWORK, PREDICTIONS, Predictions, read_predictions


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
    """Run the stored clips through the file, one by one at their own length.

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
    labels = {
        c.clip_id: c.label_index
        for c in read_manifest(root / MANIFEST).clips
        if c.label_index is not None
    }
    dataset = load_dataset(
        labels, ShardReader(root / "data/appearance"), ShardReader(root / "data/graphs")
    )
    try:
        found = probabilities(session, dataset, rows)
    except KeyError as error:
        raise UserError(f"clip {error} has a prediction but no features: run `dvc repro`") from None
    return Checked(
        run["name"],
        len(rows.clip_id),
        float(np.abs(found - rows.probabilities).max()),
        int((found.argmax(axis=1) != rows.predicted).sum()),
    )


def probabilities(session: Any, dataset: Dataset, rows: Predictions) -> np.ndarray:
    """What the graph says of each row's clip: float32 [rows, K]."""
    place = {clip: number for number, clip in enumerate(dataset.clip_ids)}
    names = [given.name for given in session.get_inputs()]
    found = []
    for clip in rows.clip_id:
        features = dataset.features.take(torch.tensor([place[clip]]))
        # without the padding, and without frames at the end that show no face: they are masked
        frames = int(features.valid[0].nonzero().max()) + 1 if features.valid.any() else 1
        tensors = {name: value[:, :frames] for name, value in features.tensors().items()
                   if name in names}  # fmt: skip
        inputs = {
            name: (value if value.dtype == torch.bool else value.float()).numpy()
            for name, value in tensors.items()
        }
        found.append(session.run(["probabilities"], inputs)[0][0])
    return np.stack(found)
