"""Spectacles: rims, bridge, temples and a faint reflection."""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.demo.anatomy import SIDES, height
from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.patch import Patch
from arpgnet.pipeline.demo.rig import Pose
from arpgnet.pipeline.demo.subject import Subject

_RIM_HALF = (0.31, 0.235)


def draw_glasses(frame: Image, subject: Subject, pose: Pose) -> None:
    """Draws the subject's glasses in place; a subject without any stays as it is."""
    if subject.glasses is None:
        return
    rims, rest = _wires(subject)
    flat_rims, flat_rest = [pose.project(w) for w in rims], [pose.project(w) for w in rest]
    wires = flat_rims + flat_rest
    patch = Patch(frame, np.concatenate(wires), 3.0, zoom=1)
    if not patch.visible:
        return
    s = pose.scale
    width = max(0.7, 0.032 * s)
    dark, shine = patch.blank(), patch.blank()
    for wire in wires:
        patch.line(dark, wire + np.array([0.0, 0.035 * s]), width, 0.30)
    for rim in flat_rims:
        middle = rim.mean(0) + np.array([0.10, 0.0]) * s
        patch.polygon(shine, middle + (rim - rim.mean(0)) * (0.25, 0.8), 0.10)
    patch.shade(dark, 0.02 * s)
    patch.lay(patch.filled((235.0, 240.0, 245.0)), shine, 1.0)
    for wire in wires:
        patch.ink(wire, width, subject.glasses)
    patch.close()


def _wires(subject: Subject) -> tuple[list[Floats], list[Floats]]:
    face = subject.anatomy
    power = 2.2 + 3.0 * (1.0 - subject.glasses_round)
    angle = np.linspace(0.0, 2.0 * np.pi, 41)
    c, s = np.cos(angle), np.sin(angle)
    rim_x = _RIM_HALF[0] * np.sign(c) * np.abs(c) ** (2 / power)
    rim_y = _RIM_HALF[1] * np.sign(s) * np.abs(s) ** (2 / power) + 0.04
    front = float(height(face, np.array(0.30), np.array(0.0))) + 0.30
    rims, rest = [], []
    for side in SIDES:
        x = side * (face.eye_x + 0.01) + rim_x
        rims.append(np.stack([x, rim_y, front - 0.16 * x**2], axis=1))
        hinge, ear = side * (face.eye_x + 0.01 + _RIM_HALF[0]), side * (face.face_w + 0.03)
        rest.append(np.array([[hinge, -0.05, front - 0.12], [ear, -0.06, front - 0.75]]))
    gap = face.eye_x + 0.01 - _RIM_HALF[0]
    x = np.linspace(-gap, gap, 7)
    rest.append(np.stack([x, -0.02 - 0.04 * (1 - (x / gap) ** 2), np.full(7, front)], axis=1))
    return rims, rest
