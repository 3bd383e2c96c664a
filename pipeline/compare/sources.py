"""Load the two sides of a comparison."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.revision import NotInCache, NotInRevision, UnknownRevision, checkout
from arpgnet.pipeline.evaluate.units import Origin, origins
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from arpgnet.pipeline.tables.predictions import (
    EXPRESSION,
    NETWORK,
    PREDICTIONS,
    Predictions,
    TargetPredictions,
    read_any_predictions,
)

WORKSPACE = "workspace"
People = Mapping[str, Origin]


@dataclass(frozen=True)
class Side:
    """One run's test predictions of ARPGNet, or of the only model in the file.

    `people` are the clips' `units.origins`, or None if there is no manifest beside the predictions;
    `sha256` is that of the predictions file; `validation` are the same model's, of a task with
    target values, which may choose thresholds.
    """

    name: str
    test: Predictions | TargetPredictions
    people: People | None
    sha256: str
    validation: TargetPredictions | None = None

    @property
    def kind(self) -> str:
        """The task."""
        return self.test.kind if isinstance(self.test, TargetPredictions) else EXPRESSION

    @property
    def outputs(self) -> list[str]:
        """The names of the classes or targets."""
        return self.test.names if isinstance(self.test, TargetPredictions) else self.test.classes


def read_side(name: str, root: Path = Path()) -> Side:
    """Load a run by name.

    Args:
        name: `workspace`, a path to a predictions file, a git revision, or a DVC experiment.
        root: of the repository.

    Raises:
        UserError: there is no such run, or its predictions are not available.
    """
    if name == WORKSPACE:
        return _read(name, root / PREDICTIONS, root / MANIFEST)
    path = Path(name)
    if path.is_file():
        return _read(name, path, path.absolute().parents[1] / MANIFEST)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _fetch(name, root, copy)
        return _read(name, copy / PREDICTIONS, copy / MANIFEST)


def _read(name: str, predictions: Path, manifest: Path) -> Side:
    rows = read_any_predictions(predictions)
    models = set(rows.model[rows.split == "test"])
    if NETWORK not in models and len(models) != 1:
        raise UserError(f"{name} contains no test predictions of the network")
    rows = rows.select(rows.model == (NETWORK if NETWORK in models else models.pop()))
    test, validation = rows.select(rows.split == "test"), None
    if isinstance(rows, TargetPredictions):
        validation = rows.select(rows.split == "val")
    people = None
    if manifest.is_file():
        people = origins(read_manifest(manifest))
    return Side(name, test, people, file_sha256(predictions), validation)


def _fetch(rev: str, root: Path, into: Path) -> None:
    """Copy a revision's predictions and manifest from git and DVC's cache."""
    try:
        checkout(rev, root, into, [PREDICTIONS, MANIFEST])
    except UnknownRevision as error:
        raise UserError(
            f"{error}: name a git revision, a DVC experiment, a predictions file or {WORKSPACE}; "
            "see `git log --oneline`, `dvc exp list --all`"
        ) from None
    except (NotInRevision, NotInCache):
        raise UserError(
            f"the predictions of '{rev}' are not available: `dvc pull` them, or recompute them "
            f"with `git checkout {rev} && dvc repro` (for an experiment `dvc exp apply {rev} && "
            "dvc repro`); dvc.lock must be part of the commit"
        ) from None
