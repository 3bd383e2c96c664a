"""Neutral face geometry of one subject: proportions, height field, outlines.

Canonical face space: x to the image right, y down, z towards the camera; the eyes lie on y = 0 and
one unit is about 70 mm, half the width of an adult face. Proportions follow adult anthropometry
(interpupillary 63 mm, bizygomatic 140 mm, pupil to chin 112 mm, mouth 52 mm) with jitter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.demo.arrays import Floats

SIDES = (-1.0, 1.0)  # image-left, image-right


@dataclass(frozen=True)
class Anatomy:
    """Lengths in face units; see the module's docstring for the axes."""

    face_w: float
    jaw_w: float
    chin_w: float
    chin_y: float
    hairline_y: float
    eye_x: float
    eye_w: float
    eye_up: float
    eye_low: float
    eye_tilt: float
    iris_r: float
    brow_y: float
    brow_arch: float
    brow_thick: float
    brow_in: float
    brow_out: float
    nose_y: float
    nose_w: float
    nose_z: float
    bridge_w: float
    mouth_y: float
    mouth_w: float
    lip_up: float
    lip_low: float
    cheek_z: float
    brow_z: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws a subject's proportions; every length varies by a few per cent around the mean."""

    def around(mean: float, spread: float) -> float:
        return float(mean * (1.0 + spread * np.clip(rng.standard_normal(), -2.0, 2.0)))

    nose_y = around(0.66, 0.05)
    mouth_y = nose_y + around(0.33, 0.07)
    brow_y = -around(0.32, 0.09)
    return Anatomy(
        face_w=around(1.0, 0.035),
        jaw_w=around(0.80, 0.055),
        chin_w=around(0.33, 0.12),
        chin_y=mouth_y + around(0.60, 0.06),
        hairline_y=-around(0.98, 0.06),
        eye_x=around(0.455, 0.03),
        eye_w=around(0.22, 0.05),
        eye_up=around(0.092, 0.11),
        eye_low=around(0.074, 0.08),
        eye_tilt=float(rng.normal(0.012, 0.012)),
        iris_r=around(0.091, 0.03),
        brow_y=brow_y,
        brow_arch=around(0.055, 0.25),
        brow_thick=around(0.075, 0.16),
        brow_in=around(0.19, 0.08),
        brow_out=around(0.76, 0.03),
        nose_y=nose_y,
        nose_w=around(0.25, 0.09),
        nose_z=around(0.42, 0.09),
        bridge_w=around(0.11, 0.10),
        mouth_y=mouth_y,
        mouth_w=around(0.375, 0.055),
        lip_up=around(0.085, 0.16),
        lip_low=around(0.115, 0.15),
        cheek_z=around(0.10, 0.20),
        brow_z=around(0.08, 0.30),
    )


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, a cubic ramp between them."""
    ramp = np.clip((value - low) / (high - low), 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def bump(x: Floats, y: Floats, center: tuple[float, float], size: tuple[float, float]) -> Floats:
    """A Gaussian of unit height."""
    return np.exp(-(((x - center[0]) / size[0]) ** 2) - ((y - center[1]) / size[1]) ** 2)


def height(face: Anatomy, x: Floats, y: Floats) -> Floats:
    """The head's front surface z(x, y) for arrays of any one shape, in face units.

    The side slope stays below 1.4, so that the image of the surface does not fold over at a yaw
    of 25 degrees and can be inverted by fixed-point iteration.
    """
    side = np.minimum(np.abs(x), 1.15)
    z = -0.50 * side**2.3 - 1.3 * np.maximum(np.abs(x) - 1.15, 0.0)
    z -= 0.22 * np.maximum(-0.25 - y, 0.0) ** 2 + 0.12 * np.maximum(y - 0.7, 0.0) ** 2
    tip_y = face.nose_y - 0.10
    along = np.clip((y + 0.18) / (tip_y + 0.18), 0.0, 1.0)
    below = np.exp(-((np.maximum(y - tip_y, 0.0) / 0.10) ** 2))
    above = smoothstep(-0.45, -0.05, y)
    width = face.bridge_w * (1.0 + 0.45 * along)
    z += (0.07 + (face.nose_z - 0.07) * along**1.3) * below * above * np.exp(-((x / width) ** 2))
    for side_sign in SIDES:
        z += 0.15 * bump(x, y, (side_sign * face.nose_w * 0.70, face.nose_y - 0.07), (0.075, 0.085))
        z += face.brow_z * bump(x, y, (side_sign * 0.42, face.brow_y + 0.06), (0.30, 0.12))
        z -= 0.13 * bump(x, y, (side_sign * face.eye_x, 0.0), (0.21, 0.15))
        z += 0.06 * bump(x, y, (side_sign * face.eye_x, 0.0), (0.14, 0.10))
        z += face.cheek_z * bump(x, y, (side_sign * 0.58, 0.42), (0.26, 0.26))
        z -= 0.05 * bump(x, y, (side_sign * 0.68, 0.95), (0.22, 0.28))
    z += 0.13 * bump(x, y, (0.0, face.mouth_y), (0.40, 0.30))
    z -= 0.05 * bump(x, y, (0.0, face.mouth_y + 0.25), (0.24, 0.06))
    z += 0.11 * bump(x, y, (0.0, face.chin_y - 0.16), (0.22, 0.17))
    z -= 0.02 * bump(x, y, (0.0, (face.nose_y + face.mouth_y) / 2 - 0.02), (0.035, 0.10))
    return z


def with_depth(face: Anatomy, xy: Floats) -> Floats:
    """Lifts points[..., 2] onto the surface: points[..., 3]."""
    return np.concatenate([xy, height(face, xy[..., 0], xy[..., 1])[..., None]], axis=-1)


def smooth_curve(knots: Floats, samples: int) -> Floats:
    """Catmull-Rom curve through knots[K, 2], resampled to `samples` points of equal arc length."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0.0, 1.0, 16, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            0.5
            * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t**2
                + (3 * b - a - 3 * c + d) * t**3
            )
        )
    dense = np.concatenate([*pieces, knots[-1:]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    wanted = np.linspace(0.0, length[-1], samples)
    return np.stack([np.interp(wanted, length, dense[:, k]) for k in range(2)], axis=1)


def contour(face: Anatomy) -> Floats:
    """Face outline [33, 2] from the image-left ear at eye height over the chin to the other ear."""
    half = np.array(
        [
            (face.face_w, -0.08),
            (face.face_w * 1.0, 0.25),
            (face.face_w * 0.965, 0.55),
            (face.jaw_w * 1.08, 0.88),
            (face.jaw_w * 0.90, face.chin_y - 0.42),
            (face.chin_w * 1.55, face.chin_y - 0.15),
            (face.chin_w * 0.75, face.chin_y - 0.02),
            (0.0, face.chin_y),
        ]
    )
    right = smooth_curve(half, 17)
    left = right[:-1] * (-1.0, 1.0)
    return np.concatenate([left, right[::-1]])


def brow_curve(face: Anatomy, side: float, t: Floats) -> tuple[Floats, Floats]:
    """Center line [T, 2] and half thickness [T] of a brow; t = 0 at the inner end, 1 at the tip."""
    x = face.brow_in + (face.brow_out - face.brow_in) * t
    peak = 1.0 - ((t - 0.62) / 0.62) ** 2
    y = face.brow_y + 0.02 - face.brow_arch * np.maximum(peak, -0.9)
    half = 0.5 * face.brow_thick * (0.25 + 0.75 * np.clip((1.0 - t) / 0.75, 0.0, 1.0) ** 0.8)
    return np.stack([side * x, y], axis=1), half
