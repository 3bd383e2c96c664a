"""Settings that may be shown to others: what was chosen, not where the chooser keeps it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.store import digest

# in the place of every folder: the settings stay valid where there must be one
LEFT_OUT = "left-out"


def shareable(params: Params) -> dict[str, Any]:
    """All settings without the folders of data; of a path from the root the last part alone.

    A path may name a person, a project, or a machine. The result is a valid `params.yaml`.
    """
    settings = params.model_dump(mode="json")
    dataset = settings["dataset"]
    for place in (dataset, settings["finetune"], *dataset["train_on"], *dataset["test_on"]):
        place["root"] = LEFT_OUT
    for place in (dataset, *dataset["train_on"], *dataset["test_on"]):
        place["manifest"] = _last(place["manifest"])
    settings["faces"]["pack"] = _last(settings["faces"]["pack"])
    return settings


def settings_digest(params: Params) -> str:
    """Tells whether two runs were set alike, wherever their data lies; sha256 of `shareable`
    without `engine`, which cannot change a result."""
    settings = shareable(params)
    settings.pop("engine")
    return digest(settings)


def _last(path: str | None) -> str | None:
    if path is None:
        return None
    outside = PurePath(path).is_absolute() or path.startswith("~") or ".." in PurePath(path).parts
    return PurePath(path).name if outside else path
