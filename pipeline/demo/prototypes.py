"""The classes and the action units that make each: EMFACS prototypes and common variants.

Source: Friesen and Ekman, EMFACS-7 (1983); Ekman, Friesen and Hager, FACS Investigator's Guide
(2002). A variant is written unit:percent; 12 and 14 of contempt act on one side only.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.demo.action_units import ACTION_UNITS, AU
from arpgnet.pipeline.demo.arrays import Floats

# the first of each is the prototype
_VARIANTS = {
    "anger": (
        "4:100 5:55 7:80 23:85 24:40",
        "4:90 7:70 17:40 24:90",
        "4:95 5:50 7:70 10:50 23:60 25:50",
    ),
    "contempt": ("12:45 14:100", "14:95", "10:15 12:80 14:40"),
    "disgust": (
        "4:30 7:30 9:100 15:50 16:55 25:35",
        "4:35 10:95 16:50 17:30 25:30",
        "4:50 7:40 9:80 10:50 17:50",
    ),
    # the last has hardly more than its tremor and its staying to tell it from surprise
    "fear": (
        "1:90 2:55 4:65 5:90 7:25 20:90 25:70 26:35",
        "1:90 2:70 4:45 5:85 20:35 25:80 26:50",
        "1:90 2:80 4:15 5:80 20:15 25:75 26:50",
    ),
    "happiness": ("6:80 12L:95 12R:95 25:60", "6:60 12L:85 12R:85", "12L:80 12R:80 25:40"),
    "neutral": ("",),
    "sadness": ("1:95 4:70 15:90 17:35 43:15", "1:75 4:75 15:60 17:60", "4:60 15:85 17:50 43:20"),
    "surprise": (
        "1:90 2:95 5:75 25:80 26:85",
        "1:90 2:80 4:10 5:80 20:20 25:75 26:50",
        "1:85 2:90 4:15 5:30 25:70 26:60",
    ),
}
CLASSES = tuple(_VARIANTS)
_PROTOTYPE_SHARE = 0.4  # of the clips; the variants share the rest


def prototype(label: str, side: str) -> Floats:
    """Intensities [A] of a class at its apex; `side`, L or R, is where contempt acts."""
    return _intensities(_VARIANTS[label][0], side)


def draw_variant(label: str, side: str, rng: np.random.Generator) -> Floats:
    """Intensities [A] at the apex of the prototype or of a variant."""
    variants = _VARIANTS[label]
    if len(variants) == 1 or rng.random() < _PROTOTYPE_SHARE:
        return _intensities(variants[0], side)
    return _intensities(variants[int(rng.integers(1, len(variants)))], side)


def _intensities(text: str, side: str) -> Floats:
    values = np.zeros(len(ACTION_UNITS))
    for entry in text.split():
        unit, percent = entry.split(":")
        name = f"AU{unit}" if f"AU{unit}" in AU else f"AU{unit}{side}"
        values[AU[name]] = int(percent) / 100
    return values
