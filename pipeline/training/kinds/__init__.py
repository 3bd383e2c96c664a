"""The tasks; each is a module, `base.py` says what it must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.kinds.action_units import ActionUnits
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.kinds.expression import Expression
from arpgnet.pipeline.training.kinds.further import Further
from arpgnet.pipeline.training.kinds.intensity import Intensity
from arpgnet.pipeline.training.kinds.valence_arousal import ValenceArousal
from arpgnet.pipeline.training.labels import Labels

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Expression, ActionUnits, Intensity, ValenceArousal)
}


def trained_task(name: str, outputs: Sequence[str]) -> Kind:
    """Return the task of a trained network."""
    return KINDS[name].trained(outputs)


def read_task(params: TaskParams, manifest: Manifest, root: Path) -> tuple[Kind, Labels]:
    """Return the task of the settings on a data set, and its labels under `root`.

    Raises:
        UserError: the data has no such labels.
    """
    return KINDS[params.kind].read(params, manifest, root)


def trained_further(info: Mapping[str, Any]) -> list[Kind]:
    """Return the further tasks of a trained network, by its metadata."""
    return [trained_task(one["kind"], one["outputs"]) for one in info.get("also", [])]


def read_further(params: TaskParams, manifest: Manifest, root: Path) -> list[Further]:
    """Return the further tasks of the settings, each with all targets that the data has.

    Raises:
        UserError: the data has no such labels.
    """
    found = []
    for name in params.also:
        try:
            kind, labels = read_task(TaskParams(kind=name), manifest, root)
        except UserError as error:
            raise UserError(f"task.also: {name}: {error}") from None
        found.append(Further(kind, labels, params.also_weight))
    return found
