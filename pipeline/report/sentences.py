"""Sentences about the results, and escaping of text from data inside Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.tables.predictions import NETWORK

# CommonMark 0.31, section 2.4: a backslash escapes ASCII punctuation
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$])")
# what starts a list at the start of a line
LIST = re.compile(r"^(\d{0,9})([-+.)])(?=[\s-]|$)")
# GitHub turns these into links without brackets
LINK = re.compile(r"(://|www\.)", re.IGNORECASE)


def plain(value: object) -> str:
    """Escape the value as Markdown that shows its text on one line, in a paragraph or a table."""
    text = SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
    text = LIST.sub(r"\1\\\2", text)
    return LINK.sub(lambda found: "\\://" if found[1] == "://" else f"{found[1][:-1]}\\.", text)


TILES = (("uar", "UAR"), ("war", "WAR"), ("macro_f1", "macro-F1"))
LONG_NAMES = {
    "uar": "unweighted average recall",
    "war": "weighted average recall (accuracy)",
    "macro_f1": "mean F1 of the classes",
}
METRICS = (
    "UAR, unweighted average recall: the mean over classes of the fraction that is recognized, so "
    "that a rare class counts as much as a frequent one. WAR, weighted average recall: the "
    "fraction of all that is correct, that is, accuracy. Macro-F1: the mean over classes of F1, "
    "the harmonic mean of precision and recall. Coverage: the fraction that has a prediction at "
    "all."
)
MODEL_NAMES = {
    NETWORK: "ARPGNet",
    "ensemble": "ARPGNet, mean of the seeds' probabilities",
    "majority": "majority class",
    "logreg_embedding": "logistic regression on the mean embedding",
    "logreg_map": "logistic regression on the mean feature map",
    "logreg_map_grid": "logistic regression on the mean feature map with positions",
}

# what publications call the scores
OFFICIAL_NAMES = {
    "war": "accuracy (WAR)",
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "abaw2": "0.67 macro-F1 + 0.33 accuracy",
}


def ensemble(details: Mapping[str, Any]) -> str:
    """Compare the mean of the seeds' probabilities with single networks and the best baseline."""
    together = details["ensemble"]
    if not together:
        return ""
    said = (
        "The mean of the seeds' probabilities differs from single networks by "
        f"{_difference(together['gain_over_networks'])}"
    )
    gains = [gain["uar"] for gain in together["gain_over_baselines"].values()]
    if not gains:
        return f"{said}."
    least = min(gains, key=lambda gain: gain["mean"])
    return f"{said}, from the best baseline by {_difference(least)}."


def _difference(gain: Mapping[str, float]) -> str:
    certain = gain["ci_low"] > 0 or gain["ci_high"] < 0
    unsure = "" if certain else ", an interval that includes zero"
    return f"{gain['mean']:+.3f} UAR {interval(gain)}{unsure}"


def official(details: Mapping[str, Any]) -> str:
    """Give the score of the data set's official protocol, or say that another one was used.

    Empty for the user's own clips.
    """
    own = details.get("official")
    if not own:
        return ""
    score, name = own["score"], OFFICIAL_NAMES[own["metric"]]
    said = (
        f"{name} {number(score['mean'])}{plus_minus(score)} {interval(score)} of "
        f"{plural(own['denominator'], own['unit'][:-1])} per seed"
    )
    if not own["words"]:
        return (
            f"{said[0].upper()}{said[1:]}. This is not the data set's official protocol: the "
            "figure cannot be compared with published ones."
        )
    return f"By the data set's official protocol ({own['words']}): {said}."


def single_runs(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """Compare the pooled figures with the mean over single runs."""
    mean = metrics["fold_mean"]
    parts = ", ".join(f"{name} {number(mean[key]['mean'])}{plus_minus(mean[key])}"
                      for key, name in TILES)  # fmt: skip
    lowest, highest = run_range(details)
    return (
        f"Mean over {plural(len(details['runs']), 'single run')} (fold and seed), each scored on "
        f"its own test part: {parts}. The worst run's UAR is {lowest}, the best run's "
        f"{highest}. The figures at the top pool the folds first; with few clips per "
        f"fold, the two differ."
    )


def run_range(details: Mapping[str, Any]) -> tuple[str, str]:
    """Return the lowest and the highest UAR of a single run."""
    uars = [run["uar"] for run in details["runs"] if run["uar"] is not None]
    return number(min(uars)), number(max(uars))


def training(details: Mapping[str, Any]) -> str:
    """Say how long the runs were trained, and whether they were refitted."""
    runs = list(details["training"].values())
    steps = sorted((run["best_epoch"] + 1) * run["epoch_steps"] for run in runs)
    refitted = [run["refitted"] for run in runs if run["refitted"]]
    said = (
        f"Validation chose an epoch after {_range(steps)} steps (an epoch: "
        f"{_range(sorted(run['epoch_steps'] for run in runs))}). "
    )
    if refitted:
        said += (
            "Networks and baselines were then trained anew on training and validation together "
            f"({_range(sorted(refitted))} clips), for as many steps and with the chosen "
            "regularization; only these see the test part, and all validation figures are from "
            "before."
        )
    else:
        said += "The weights are those of that epoch; they have not seen the validation part."
    said += smoothing(details)
    late = sum(run["improving"] for run in runs)
    if late:
        said += (
            f" {plural(late, 'run')} of {len(runs)} still improved in the last epoch: a higher "
            "train.epochs or train.min_steps may give better networks."
        )
    return said


def smoothing(details: Mapping[str, Any]) -> str:
    """Say over how many frames predictions are smoothed; empty where they are not."""
    chosen = [run["smoothing"] for run in details["training"].values() if "smoothing" in run]
    if not chosen:
        return ""
    lengths = _range(sorted(one["length"] for one in chosen))
    before, after = (
        number(sum(one[key] for one in chosen) / len(chosen)) for key in ("before", "score")
    )
    return (
        " The predictions of frames, of networks and baselines alike, are smoothed over "
        f"{lengths} video frames (evaluate.smooth; auto: chosen on validation alone): "
        f"validation {chosen[0]['select']} {after}, without it {before}."
    )


def domain(metrics: Mapping[str, Any]) -> str:
    """Say how unlike the training clips the test clips are."""
    beyond, percentile = (metrics["domain"][name]["mean"] for name in ("beyond", "percentile"))
    return (
        f"{beyond:.0%} of the test clips are further from the training clips, by their embeddings "
        "and feature maps, than the limit (of the validation clips, at most 5% are). The median "
        f"test clip is further than {percentile:.0%} of the validation clips."
    )


def _range(ascending: Sequence[int]) -> str:
    low, high = ascending[0], ascending[-1]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def calibration(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """Give the expected calibration error, and in which direction it lies."""
    error, lean = metrics["ece"], metrics["overconfidence"]["mean"]
    if error["mean"] is None:
        return "No clip has a prediction."
    before = metrics["ece_uncalibrated"]
    changed = [run["temperature"] for run in details["training"].values()]
    how = (
        f" Probabilities are calibrated: each network's logits are divided by a temperature that "
        f"its validation part chose ({number(min(changed))} to {number(max(changed))}); without it "
        f"the error is {number(before['mean'])}{plus_minus(before)}."
        if any(value != 1 for value in changed)
        else ""
    )
    side = "overconfident" if lean > 0 else "underconfident"
    return (
        f"Expected calibration error {number(error['mean'])}{plus_minus(error)} "
        f"({plural(details['ece_bins'], 'bin')}): the mean distance between the probability of "
        f"the predicted class and the accuracy at that probability. Over all clips the network "
        f"is {side} by {abs(lean):.3f}.{how}"
    )


def number(value: float) -> str:
    return f"{value:.3f}"


def interval(score: Mapping[str, float]) -> str:
    return f"[{score['ci_low']:.3f}, {score['ci_high']:.3f}]" if "ci_low" in score else ""


def plus_minus(score: Mapping[str, float]) -> str:
    return f" ±{score['std']:.3f}" if "std" in score else ""
