"""Furrows and bulges that action units fold into the skin, as additions to its relief."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arpgnet.pipeline.demo import canvas
from arpgnet.pipeline.demo.anatomy import SIDES, bump
from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.subject import Subject

RELIEF_PPU = 56


@dataclass(frozen=True)
class Fold:
    """One fold at full intensity, cut to the box where it lives."""

    units: tuple[str, ...]
    side: int | None  # 0 image-left, 1 image-right, None the mean of both
    box: tuple[slice, slice]
    slope_x: Floats
    slope_y: Floats
    dark: Floats


def draw_folds(subject: Subject) -> list[Fold]:
    """All folds of a subject, jittered by its seed and scaled by its age."""
    rng = np.random.default_rng([subject.seed, 2])
    face = subject.anatomy
    folds: list[Fold] = []

    def furrow(
        units: tuple[str, ...],
        side: int | None,
        lines: list[list[tuple[float, float]]],
        *,
        depth: float,
        width: float = 0.022,
        dark: float = 1.0,
    ) -> None:
        curves = [np.array(line) + rng.normal(0.0, 0.006, (len(line), 2)) for line in lines]
        folds.append(_fold(units, side, curves, depth * subject.wrinkles, width, dark))

    mid_brow = (face.brow_in + face.brow_out) / 2
    for index, s in enumerate(SIDES):
        wing = (s * (face.nose_w + 0.05), face.nose_y - 0.10)
        corner = (s * (face.mouth_w + 0.12), face.mouth_y - 0.03)
        mid_fold = (s * (face.nose_w + 0.20), face.nose_y + 0.10)
        nasolabial = [wing, mid_fold, (s * (face.mouth_w + 0.10), face.mouth_y - 0.14), corner]
        furrow(("AU12", "AU6"), index, [nasolabial], depth=0.075, width=0.032, dark=1.4)
        furrow(("AU9", "AU10"), index, [nasolabial[:3]], depth=0.085, width=0.032, dark=1.5)
        folds.append(_bulge(("AU12", "AU6"), index, (s * 0.55, 0.40), (0.20, 0.17), 0.075))
        dimple = [
            (s * (face.mouth_w + 0.10), face.mouth_y - 0.11),
            (s * (face.mouth_w + 0.135), face.mouth_y - 0.02),
            (s * (face.mouth_w + 0.10), face.mouth_y + 0.08),
        ]
        furrow(("AU14",), index, [dimple], depth=0.10, width=0.032, dark=2.2)
        marionette = [
            (s * (face.mouth_w + 0.04), face.mouth_y + 0.02),
            (s * (face.mouth_w + 0.08), face.mouth_y + 0.14),
            (s * (face.mouth_w + 0.05), face.mouth_y + 0.25),
        ]
        furrow(("AU15",), index, [marionette], depth=0.07, width=0.028, dark=1.5)
        stretch = [
            [
                (s * (face.mouth_w + 0.10 + d), face.mouth_y - 0.10 + d),
                (s * (face.mouth_w + 0.16 + d), face.mouth_y + 0.02),
                (s * (face.mouth_w + 0.12 + d), face.mouth_y + 0.18),
            ]
            for d in (0.0, 0.09)
        ]
        furrow(("AU20",), index, stretch, depth=0.05, width=0.026, dark=1.1)
        out = face.eye_x + face.eye_w
        crow = [
            [(s * (out + 0.05), 0.02 + d), (s * (out + 0.20), 0.02 + 2.6 * d)]
            for d in (-0.05, 0.01, 0.06)
        ]
        furrow(("AU6",), index, crow, depth=0.045, width=0.016, dark=1.2)
        bag = [
            (s * (face.eye_x - face.eye_w * 0.9), 0.11),
            (s * face.eye_x, 0.165),
            (s * (out - 0.02), 0.12),
        ]
        furrow(("AU6", "AU7"), index, [bag], depth=0.05, width=0.022, dark=1.0)
        frown_x = face.brow_in * 0.55
        frown = [[(s * frown_x, face.brow_y - 0.09), (s * frown_x * 0.85, face.brow_y + 0.10)]]
        furrow(("AU4",), index, frown, depth=0.085, width=0.026, dark=2.0)
        outer = [
            [
                (s * (mid_brow - 0.2), face.brow_y - 0.19 - d),
                (s * mid_brow, face.brow_y - 0.24 - d),
                (s * (face.brow_out - 0.04), face.brow_y - 0.17 - d),
            ]
            for d in (0.0, 0.11, 0.22)
        ]
        furrow(("AU2",), index, outer, depth=0.05, width=0.024, dark=1.0)
        bunny = [[(s * 0.02, 0.10 + d), (s * 0.13, 0.02 + d)] for d in (0.0, 0.08, 0.16)]
        furrow(("AU9",), index, bunny, depth=0.06, width=0.020, dark=1.5)
    inner = [
        [
            (-0.32, face.brow_y - 0.20 - d),
            (0.0, face.brow_y - 0.17 - d),
            (0.32, face.brow_y - 0.20 - d),
        ]
        for d in (0.0, 0.11, 0.21)
    ]
    furrow(("AU1",), None, inner, depth=0.06, width=0.024, dark=1.2)
    chin_y = face.mouth_y + 0.28
    furrow(
        ("AU17",),
        None,
        [[(-0.17, chin_y + 0.03), (0.0, chin_y - 0.02), (0.17, chin_y + 0.03)]],
        depth=0.06,
        width=0.03,
        dark=1.2,
    )
    folds.append(_pebbles(rng, ("AU17",), (0.0, face.chin_y - 0.20), 0.018 * subject.wrinkles))
    for units in (("AU23",), ("AU24",)):
        lines = [
            [(x, face.mouth_y - 0.17), (x * 1.05, face.mouth_y - 0.09)]
            for x in (-0.22, -0.11, 0.11, 0.22)
        ]
        lines.append(
            [(-0.2, face.mouth_y + 0.17), (0.0, face.mouth_y + 0.2), (0.2, face.mouth_y + 0.17)]
        )
        furrow(units, None, lines, depth=0.04, width=0.022, dark=1.0)
    return folds


def _fold(
    units: tuple[str, ...],
    side: int | None,
    lines: list[Floats],
    depth: float,
    width: float,
    dark: float,
) -> Fold:
    line = canvas.strokes(lines, RELIEF_PPU, width * 0.6)
    valley = canvas.soften(line, width * RELIEF_PPU * 0.55)
    # the skin pushed out of a furrow stands up beside it
    relief = canvas.soften(line, width * RELIEF_PPU * 1.9) * 1.6 - valley
    scale = depth / max(float(valley.max()), 1e-6)
    return _cut(units, side, relief * scale, valley * (scale * 3.2 * dark))


def _bulge(
    units: tuple[str, ...],
    side: int | None,
    center: tuple[float, float],
    size: tuple[float, float],
    rise: float,
) -> Fold:
    x, y = canvas.coordinates(RELIEF_PPU)
    relief = rise * bump(x, y, center, size)
    return _cut(units, side, relief, np.zeros_like(relief))


def _pebbles(
    rng: np.random.Generator, units: tuple[str, ...], center: tuple[float, float], rise: float
) -> Fold:
    x, y = canvas.coordinates(RELIEF_PPU)
    mask = bump(x, y, center, (0.17, 0.12))
    grain = canvas.noise(rng, x.shape, 1.8)
    return _cut(units, None, rise * mask * grain, 0.12 * mask * np.maximum(-grain, 0.0))


def _cut(units: tuple[str, ...], side: int | None, relief: Floats, dark: Floats) -> Fold:
    rows, columns = np.nonzero((np.abs(relief) > 4e-4) | (dark > 2e-3))
    box = (
        slice(int(rows.min()), int(rows.max()) + 1),
        slice(int(columns.min()), int(columns.max()) + 1),
    )
    relief = relief.astype(np.float32)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=RELIEF_PPU / 8.0)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=RELIEF_PPU / 8.0)
    dark = dark.astype(np.float32)
    return Fold(units, side, box, slope_x[box].copy(), slope_y[box].copy(), dark[box].copy())
