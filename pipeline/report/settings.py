"""Settings that may be shown to others: without the paths of this machine."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from arpgnet.pipeline.common.params import RENDERED, Params
from arpgnet.pipeline.store import digest

# replaces every folder: the settings stay valid where there must be one
LEFT_OUT = "left-out"


def shareable(params: Params) -> dict[str, Any]:
    """Return all settings without the data folders; of an absolute path only the last part.

    A path may reveal a person, a project, or a machine. The result is a valid `params.yaml`.
    """
    settings = params.model_dump(mode="json")
    dataset = settings["dataset"]
    for place in (dataset, settings["finetune"], *dataset["train_on"], *dataset["test_on"]):
        place["root"] = LEFT_OUT
    for place in (dataset, *dataset["train_on"], *dataset["test_on"]):
        place["manifest"] = _last(place["manifest"])
    stills = settings["pretrain"]["stills"]
    settings["pretrain"]["stills"] = [one if one == RENDERED else LEFT_OUT for one in stills]
    settings["faces"]["pack"] = _last(settings["faces"]["pack"])
    return settings


def settings_digest(params: Params) -> str:
    """Return the sha256 of `shareable` without `engine`, which cannot change a result.

    Two runs with equal settings have equal digests, wherever their data lies.
    """
    settings = shareable(params)
    settings.pop("engine")
    return digest(settings)


def _last(path: str | None) -> str | None:
    if path is None:
        return None
    outside = PurePath(path).is_absolute() or path.startswith("~") or ".." in PurePath(path).parts
    return PurePath(path).name if outside else path
