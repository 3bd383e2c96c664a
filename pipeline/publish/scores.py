"""What a published network is measured by: its task and scores, as model hubs name them and we."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arpgnet.pipeline.report.score_names import SCORE_NAMES, deciding
from arpgnet.pipeline.tables.predictions import EXPRESSION


@dataclass(frozen=True)
class Reported:
    """How a task is reported.

    Attributes:
        task: its name on a hub.
        tag: the hub's word for it.
        metrics: our scores, and the hub's name of each; `recall` is the mean over classes there
            too.
        shown: the scores that are told in a sentence.
    """

    task: str
    tag: str
    metrics: Mapping[str, str]
    shown: tuple[str, ...]

    @property
    def first(self) -> str:
        """The score that chose the run."""
        return deciding(self.metrics)

    def sentence(self, scores: Mapping[str, Any]) -> str:
        """Say some scores, such as `UAR 0.875, WAR 0.750`."""
        return ", ".join(f"{SCORE_NAMES[name]} {scores[name]:.3f}" for name in self.shown)


REPORTED = {
    EXPRESSION: Reported(
        "Facial expression recognition",
        "facial-expression-recognition",
        {"uar": "recall", "war": "accuracy", "macro_f1": "f1"},
        ("uar", "war"),
    ),
    "action_units": Reported(
        "Facial action unit detection", "facial-action-units", {"f1": "f1"}, ("f1",)
    ),
    "intensity": Reported(
        "Facial action unit intensity estimation",
        "facial-action-units",
        {"icc": "icc", "mae": "mae"},
        ("icc", "mae"),
    ),
    "valence_arousal": Reported(
        "Valence and arousal estimation",
        "valence-arousal",
        {"ccc": "ccc", "rmse": "rmse"},
        ("ccc", "rmse"),
    ),
}


def reported(info: Mapping[str, Any]) -> Reported:
    """Return how the task of a run is reported; `info` as `load_run` gives it."""
    return REPORTED[info.get("kind", EXPRESSION)]


def own_run(info: Mapping[str, Any], details: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the scores of this network on its own test part, if they are defined, and how many
    clips or frames that are: `tested`."""
    run, first = (info["fold"], info["seed"]), reported(info).first
    found = (one for one in details["runs"] if (one["fold"], one["seed"]) == run)
    own = next((one for one in found if one[first] is not None), None)
    return None if own is None else {**own, "tested": own.get("clips", own.get("units"))}
