"""What the numbers say, in words.

Text from data inside Markdown: it is read as text, whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from arpgnet.pipeline.tables.predictions import NETWORK

# CommonMark 0.31, section 2.4: a backslash before ASCII punctuation makes it plain
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$])")
# what begins a list where a line begins
LIST = re.compile(r"^(\d{0,9})([-+.)])(?=[\s-]|$)")
# GitHub makes links of these without brackets
LINK = re.compile(r"(://|www\.)", re.IGNORECASE)


def plain(value: object) -> str:
    """The value as Markdown that shows its text on one line, in a paragraph or in a table."""
    text = SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
    text = LIST.sub(r"\1\\\2", text)
    return LINK.sub(lambda found: "\\://" if found[1] == "://" else f"{found[1][:-1]}\\.", text)


TILES = (("uar", "UAR"), ("war", "WAR"), ("macro_f1", "macro-F1"))
MODEL_NAMES = {
    NETWORK: "ARPGNet",
    "majority": "majority class",
    "logreg_embedding": "logistic regression on the mean embedding",
    "logreg_map": "logistic regression on the mean map",
    "logreg_map_grid": "logistic regression on the mean map with its positions",
}

# what publications call the scores
OFFICIAL_NAMES = {
    "war": "accuracy (WAR)",
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "abaw2": "0.67 macro-F1 + 0.33 accuracy",
}


def verdict(details: Mapping[str, Any]) -> str:
    """Whether the network beats the best of its baselines, and how surely."""
    gains = details["gain_over_baselines"]
    if not gains:
        return ""
    nearest = min(gains, key=lambda name: gains[name]["uar"]["mean"])
    gain = gains[nearest]["uar"]
    outcome = "beats" if gain["mean"] > 0 else "does not beat"
    certain = gain["ci_low"] > 0 or gain["ci_high"] < 0
    return (
        f"Here it {outcome} the best of them, {MODEL_NAMES.get(nearest, nearest)}: "
        f"{gain['mean']:+.3f} UAR {interval(gain)} on the same resamples"
        f"{'' if certain else ', an interval that includes no difference'}."
    )


def official(details: Mapping[str, Any]) -> str:
    """The score of the data set's own protocol, or that another one was used; empty for one's own
    clips."""
    own = details.get("official")
    if not own:
        return ""
    score, name = own["score"], OFFICIAL_NAMES[own["metric"]]
    said = (
        f"{name} {number(score['mean'])}{plus_minus(score)} {interval(score)} of "
        f"{own['denominator']} {own['unit']} a seed"
    )
    if not own["words"]:
        return (
            f"{said[0].upper()}{said[1:]}. This is not the data set's own protocol: the figure "
            "cannot be put beside published ones."
        )
    return f"By the data set's own protocol ({own['words']}): {said}."


def single_runs(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """Pooled figures beside the mean over single runs."""
    runs, mean = details["runs"], metrics["fold_mean"]
    uars = [run["uar"] for run in runs]
    parts = ", ".join(f"{name} {number(mean[key]['mean'])}{plus_minus(mean[key])}"
                      for key, name in TILES)  # fmt: skip
    return (
        f"Mean over the {len(runs)} single runs (fold and seed), each scored on its own test part: "
        f"{parts}; the worst run's UAR is {number(min(uars))}, the best one's "
        f"{number(max(uars))}. The figures at the top pool the folds first; with few clips a fold "
        f"the two differ."
    )


def calibration(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """The expected calibration error, and to which side it lies."""
    error, lean = metrics["ece"], metrics["overconfidence"]["mean"]
    if error["mean"] is None:
        return "No clip has a prediction."
    side = "surer than it is right" if lean > 0 else "right more often than it is sure"
    return (
        f"Expected calibration error {number(error['mean'])}{plus_minus(error)} "
        f"({details['ece_bins']} bins): how far, on average, the probability of the named "
        f"class is from the share of clips that are named rightly at that probability. Over all "
        f"clips the network is {side}, by {abs(lean):.3f}."
    )


def number(value: float) -> str:
    return f"{value:.3f}"


def interval(score: Mapping[str, float]) -> str:
    return f"[{score['ci_low']:.3f}, {score['ci_high']:.3f}]" if "ci_low" in score else ""


def plus_minus(score: Mapping[str, float]) -> str:
    return f" ±{score['std']:.3f}" if "std" in score else ""
