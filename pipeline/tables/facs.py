"""What the numbers of action units stand for: names of FACS (Ekman, Friesen and Hager, 2002)."""

from __future__ import annotations

import re

NAMES = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial furrow deepener",
    12: "lip corner puller",
    13: "sharp lip puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip presser",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    28: "lip suck",
    43: "eyes closed",
    45: "blink",
    46: "wink",
}


# task.kind -> what is predicted, and what its values mean
SCALES = {
    "action_units": ("action units", "probability that the unit is present, 0 to 1"),
    "intensity": ("intensities of action units", "0 (absent) to 5; FACS levels A to E are 1 to 5"),
    "valence_arousal": ("valence and arousal", "-1 (unpleasant, calm) to 1 (pleasant, excited)"),
}


# task.kind -> the lowest and the highest value
RANGES = {
    "expression": (0.0, 1.0),
    "action_units": (0.0, 1.0),
    "intensity": (0.0, 5.0),
    "valence_arousal": (-1.0, 1.0),
}

# task.kind -> value from which on a unit counts as present; an intensity of 1 is FACS level A
PRESENT = {"action_units": 0.5, "intensity": 1.0}


def unit_of(target: str) -> tuple[int, bool] | None:
    """Return a target's number of the action unit, and whether it is its intensity."""
    found = re.fullmatch(r"au_(\d+)(_intensity)?", target)
    return (int(found[1]), found[2] is not None) if found else None


def described(target: str) -> str:
    """Return what a target is, as `lip corner puller` for au_12 or au_12_intensity; empty: it
    needs no description."""
    unit = unit_of(target)
    return NAMES.get(unit[0], "") if unit else ""
