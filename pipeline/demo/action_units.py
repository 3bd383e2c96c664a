"""FACS action units (Ekman, Friesen and Hager, 2002) and what each moves.

A state is a vector of intensities in [0, 1] in the order of `ACTION_UNITS` (1 = FACS level E).
Sides are the subject's own: 12L is the subject's left mouth corner, on the image's right.
Displacements are in face units (70 mm) at full intensity.
"""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.demo.anatomy import Anatomy, bump, smoothstep
from arpgnet.pipeline.demo.arrays import Floats

ACTION_UNITS = (
    *("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12L", "AU12R", "AU14L", "AU14R"),
    *("AU15", "AU16", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU43", "AU45"),
)
AU = {name: place for place, name in enumerate(ACTION_UNITS)}

# places on one half of the face; `handle_weights` says where they lie and how far they reach
HANDLES = (
    *("brow_in", "brow_mid", "brow_out", "cheek", "lower_lid", "ala", "corner", "upper_lip"),
    *("lower_lip", "chin", "jaw"),
)
# AU -> handle -> (outwards, down, forwards)
MOTIONS: dict[str, dict[str, tuple[float, float, float]]] = {
    "AU1": {"brow_in": (0.01, -0.17, 0.0), "brow_mid": (0.0, -0.06, 0.0)},
    "AU2": {"brow_out": (0.0, -0.15, 0.0), "brow_mid": (0.0, -0.11, 0.0)},
    "AU4": {
        "brow_in": (-0.065, 0.135, 0.02),
        "brow_mid": (-0.03, 0.09, 0.0),
        "brow_out": (0.0, 0.02, 0.0),
    },
    "AU6": {"cheek": (0.02, -0.09, 0.04), "lower_lid": (0.0, -0.035, 0.0)},
    "AU7": {"lower_lid": (0.0, -0.03, 0.0)},
    "AU9": {
        "ala": (0.015, -0.10, 0.02),
        "upper_lip": (0.0, -0.05, 0.0),
        "brow_in": (-0.03, 0.09, 0.0),
        "cheek": (0.0, -0.05, 0.0),
    },
    "AU10": {"upper_lip": (0.0, -0.08, 0.0), "ala": (0.02, -0.035, 0.0), "cheek": (0, -0.02, 0)},
    "AU12": {"corner": (0.105, -0.135, -0.03), "cheek": (0.02, -0.07, 0.04)},
    "AU14": {"corner": (0.06, -0.05, -0.04), "cheek": (0.0, -0.015, 0.0)},
    "AU15": {"corner": (0.0, 0.115, -0.02)},
    "AU16": {"lower_lip": (0.0, 0.06, 0.0), "corner": (0.0, 0.015, 0.0)},
    "AU17": {"chin": (0.0, -0.075, 0.03), "lower_lip": (0.0, -0.06, 0.03)},
    "AU20": {"corner": (0.125, 0.035, -0.04), "lower_lip": (0.0, 0.01, 0.0)},
    "AU23": {"corner": (-0.045, 0.0, 0.01)},
    "AU24": {"corner": (-0.025, 0.0, 0.0), "chin": (0.0, -0.02, 0.0)},
    "AU26": {"jaw": (0.0, 0.27, -0.05), "corner": (-0.03, 0.08, 0.0)},
}
# AU4 pulls the raised inner brow together instead of down: the oblique brow of sadness and fear
AU1_WITH_AU4 = {"brow_in": (0.0, -0.115, 0.0), "brow_mid": (0.0, -0.02, 0.0)}


def one_sided(values: Floats) -> tuple[Floats, Floats]:
    """Splits intensities[A] into what the image-left and the image-right half of the face show."""
    halves = []
    for mine, other in (("R", "L"), ("L", "R")):
        half = values.copy()
        for unit in ("AU12", "AU14"):
            half[AU[f"{unit}{other}"]] = 0.0
            half[AU[f"{unit}{mine}"]] = values[AU[f"{unit}{mine}"]]
        halves.append(half)
    return halves[0], halves[1]


def unit(values: Floats, name: str) -> float:
    """Intensity of a unit in one half of the face; AU12 and AU14 mean whichever side is present."""
    if name in ("AU12", "AU14"):
        return float(max(values[AU[f"{name}L"]], values[AU[f"{name}R"]]))
    return float(values[AU[name]])


def _motion_table() -> Floats:
    table = np.zeros((len(ACTION_UNITS), len(HANDLES), 3))
    for name, row in AU.items():
        for handle, vector in MOTIONS.get(name.rstrip("LR"), {}).items():
            table[row, HANDLES.index(handle)] = vector
    return table.reshape(len(ACTION_UNITS), -1)


_MOTION_TABLE = _motion_table()


def handle_motion(half: Floats) -> Floats:
    """Displacements [handles, 3] (outwards, down, forwards) of one half's intensities[A]."""
    moved = (half @ _MOTION_TABLE).reshape(len(HANDLES), 3)
    both = unit(half, "AU1") * unit(half, "AU4")
    for handle, vector in AU1_WITH_AU4.items():
        moved[HANDLES.index(handle)] += both * np.array(vector)
    return moved


def handle_weights(face: Anatomy, xy: Floats) -> Floats:
    """How much each handle moves each point: weights [P, 2 * handles], image-left half first.

    Args:
        xy: points [P, 2] of the neutral face.
    """
    x, y = xy[:, 0], xy[:, 1]
    middle = (face.brow_in + face.brow_out) / 2
    centers = {
        "brow_in": ((face.brow_in + 0.02, face.brow_y), (0.17, 0.22)),
        "brow_mid": ((middle, face.brow_y - 0.02), (0.20, 0.20)),
        "brow_out": ((face.brow_out - 0.03, face.brow_y), (0.18, 0.20)),
        "cheek": ((0.52, 0.46), (0.26, 0.24)),
        "lower_lid": ((face.eye_x, 0.13), (0.20, 0.07)),
        "ala": ((face.nose_w * 0.8, face.nose_y - 0.06), (0.13, 0.13)),
        "corner": ((face.mouth_w, face.mouth_y), (0.22, 0.19)),
        "upper_lip": ((0.13, face.mouth_y - 0.16), (0.17, 0.13)),
        "lower_lip": ((0.12, face.mouth_y + 0.18), (0.20, 0.11)),
        "chin": ((0.10, face.chin_y - 0.18), (0.24, 0.17)),
    }
    columns = []
    for side in (-1.0, 1.0):
        for name in HANDLES:
            if name == "jaw":
                columns.append(_jaw_weight(face, x, y) * smoothstep(-0.25, 0.25, side * x))
                continue
            (cx, cy), size = centers[name]
            weight = bump(x, y, (side * cx, cy), size)
            # the two halves' bumps near the midline overlap: together they must not exceed one
            columns.append(weight * smoothstep(-0.20, 0.20, side * x))
    return np.stack(columns, axis=1)


def _jaw_weight(face: Anatomy, x: Floats, y: Floats) -> Floats:
    """1 on the chin and the lower lip, 0 above the mouth; rises slowly along the cheeks."""
    aside = np.clip(np.abs(x) / face.face_w, 0.0, 1.0) ** 2
    start = face.mouth_y - 0.02 - 0.75 * aside
    end = face.mouth_y + 0.14 + 0.35 * aside
    reach = 1.0 - 0.25 * aside
    return smoothstep(0.0, 1.0, (y - start) / (end - start)) * reach
