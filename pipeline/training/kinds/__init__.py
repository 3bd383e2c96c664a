"""The tasks; each is a module, `base.py` says what it must have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arpgnet.pipeline.common.params import TaskParams
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.training.kinds.action_units import ActionUnits
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.kinds.expression import Expression
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
