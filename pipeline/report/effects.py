"""What occluding a region does, in words: to the predicted class, to all targets, or to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arpgnet.pipeline.tables.facs import described


@dataclass(frozen=True)
class Effect:
    """Of a group of views: the effect as a noun and as a verb, and what the mean of its
    `probability` is; empty: it has none."""

    noun: str
    verb: str
    mean: str = ""


OF_CLASSES = Effect(
    "drop in the predicted class's probability",
    "lowers the predicted class's probability",
    "mean probability of the predicted class",
)
OF_TARGETS = Effect("change of the predictions", "changes the predictions")


def effect_of(kind: str | None, label: str | None) -> Effect:
    """Return the effect of a group.

    Args:
        kind: of the task; None: expressions.
        label: the target that the group is about; None: all.
    """
    if kind is None:
        return OF_CLASSES
    if label is None:
        return OF_TARGETS
    if kind == "valence_arousal":
        return Effect(f"change of {label}", f"changes {label}", "mean")
    what = "intensity" if kind == "intensity" else "probability"
    return Effect(f"drop in the unit's {what}", f"lowers the unit's {what}", f"mean {what}")


def words_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the sentences that differ between tasks: what the occlusion effect is, how clips were
    drawn, and the heading and the meaning of the single groups.

    Args:
        found: `reports/explanations.json`.
    """
    if "kind" not in found:
        return {
            "whole": "All classes",
            "effect": "how much the probability of the predicted\nclass drops when the region is "
            "occluded, as a share of all such drops",
            "relevance": "that drop",
            "drawn": f"at most {found['most_per_class']} per class",
            "each": "Per class",
            "each_words": "The clips of each true class, whatever was predicted.",
        }
    of_values = found["kind"] == "valence_arousal"
    what = "intensity" if found["kind"] == "intensity" else "probability"
    return {
        "whole": "All targets",
        "effect": "how much the predictions\nchange when the region is occluded, as a share of all "
        "such changes"
        + ("" if of_values else f"; below, of a single unit, how much its {what} drops"),
        "relevance": "that change",
        "drawn": f"at most {found['most']} in all",
        "each": "Per target",
        "each_words": f"The {found['unit']} in which the target is annotated."
        if of_values
        else f"The {found['unit']} that show the unit, as annotated, whatever was predicted.",
    }


def title_of(found: Mapping[str, Any], label: str) -> str:
    """Return a class, or a target with what its number stands for."""
    return f"{label} {described(label)}".strip() if "kind" in found else label
