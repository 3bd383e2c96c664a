"""Moves a neutral face by action units and projects it: landmarks, lids, lips, skin grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from arpgnet.pipeline.demo import landmarks as lm
from arpgnet.pipeline.demo.action_units import (
    HANDLES,
    handle_motion,
    handle_weights,
    one_sided,
    unit,
)
from arpgnet.pipeline.demo.anatomy import (
    SIDES,
    Anatomy,
    brow_curve,
    contour,
    height,
    smoothstep,
    with_depth,
)
from arpgnet.pipeline.demo.arrays import Floats

# the canonical square that textures and the skin grid cover
DOMAIN_X, DOMAIN_Y = (-1.75, 1.75), (-2.125, 2.0)
GRID_STEP = 0.0625
LIP_SAMPLES, LID_SAMPLES = 25, 17
PIVOT = np.array([0.0, 0.35, -0.6])
CAMERA_DISTANCE = 9.0


@dataclass(frozen=True)
class Pose:
    """Where the head is: angles in radians (turn right, nod down, tilt clockwise), pixels."""

    yaw: float
    pitch: float
    roll: float
    center: tuple[float, float]
    scale: float  # px per face unit

    @cached_property
    def rotation(self) -> Floats:
        """The head-to-camera rotation [3, 3]."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        turn = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
        nod = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
        tilt = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
        return tilt @ nod @ turn

    def project(self, points: Floats) -> Floats:
        """Pixels [..., 2] of head points [..., 3]."""
        x, y, z = ((points - PIVOT) @ self.rotation.T).T
        near = self.scale / (1.0 - z / CAMERA_DISTANCE)
        pixels = np.empty((*points.shape[:-1], 2))
        # by axes: numpy is slow where the innermost axis has two elements
        pixels.T[0] = x * near + self.center[0]
        pixels.T[1] = y * near + self.center[1]
        return pixels


@dataclass(frozen=True)
class Expression:
    """What the muscles do now: intensities[A] shown by either half, and the gaze."""

    image_left: Floats
    image_right: Floats
    gaze: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_units(
        cls, values: Floats, asymmetry: Floats | None = None, gaze: tuple[float, float] = (0.0, 0.0)
    ) -> Expression:
        """Splits intensities[A]; `asymmetry`[A] in [-1, 1] weakens one half of each unit."""
        left, right = one_sided(values)
        if asymmetry is not None:
            left = left * (1.0 - np.maximum(asymmetry, 0.0))
            right = right * (1.0 + np.minimum(asymmetry, 0.0))
        return cls(left, right, gaze)


@dataclass(frozen=True)
class Eye:
    """One eye in head space; curves run from the inner to the outer corner."""

    upper: Floats  # [LID_SAMPLES, 3]
    lower: Floats
    crease: Floats
    iris: Floats  # [3]
    closed: float


@dataclass(frozen=True)
class Mouth:
    """Lip curves [LIP_SAMPLES, 3] from the image-left to the image-right corner."""

    outer_upper: Floats
    inner_upper: Floats
    inner_lower: Floats
    outer_lower: Floats
    jaw: float  # how far the lower teeth have dropped, face units
    gap: float  # largest opening, face units


@dataclass(frozen=True)
class Shape:
    """The moved face in head space."""

    landmarks: Floats  # [106, 3]
    grid: Floats  # [rows, columns, 3]
    eyes: tuple[Eye, Eye]
    mouth: Mouth


# along the lips from corner to corner, eased towards the corners, where the curves bend most
_EVEN = np.linspace(-1.0, 1.0, LIP_SAMPLES)
_LIP_T = np.sin(_EVEN * np.pi / 2) * 0.6 + _EVEN * 0.4
_LIP_BOW = 1.0 - _LIP_T**2
_LIP_ACROSS = smoothstep(-0.7, 0.7, _LIP_T)
_LIP_END = np.abs(_LIP_T) ** 1.7
_LIP_DROP = 1.0 - np.abs(_LIP_T) ** 2.4
_LIP_LIFT = _LIP_BOW**0.6
_UPPER_LIP = (1.0 - np.abs(_LIP_T) ** 1.9) ** 0.85 * (
    1.0
    + 0.18 * np.exp(-(((np.abs(_LIP_T) - 0.24) / 0.15) ** 2))
    - 0.16 * np.exp(-((_LIP_T / 0.1) ** 2))
)
_LOWER_LIP = (1.0 - np.abs(_LIP_T) ** 2.5) ** 0.9
# at rest the seam bows down in the middle and dips at its ends
_LIP_SEAM = 0.012 * np.cos(3.0 * _LIP_T)
# along the lids from the inner to the outer corner
_LID_T = np.linspace(-1.0, 1.0, LID_SAMPLES)
_UPPER_LID = (1.0 - np.abs(_LID_T) ** 2.3) * (1.0 - 0.12 * _LID_T)
_LOWER_LID = (1.0 - np.abs(_LID_T) ** 2.0) * (1.0 + 0.15 * _LID_T)
_LID_GRIEF = np.clip(-_LID_T, 0.0, 1.0) * (1.0 - np.abs(_LID_T))


class Rig:
    """A subject's neutral face with the weights that let action units move it."""

    def __init__(self, face: Anatomy) -> None:
        self.face = face
        columns = np.arange(DOMAIN_X[0], DOMAIN_X[1] + 1e-6, GRID_STEP)
        rows = np.arange(DOMAIN_Y[0], DOMAIN_Y[1] + 1e-6, GRID_STEP)
        grid = np.stack(np.meshgrid(columns, rows), axis=-1)
        self._grid = with_depth(face, grid).astype(np.float32)
        self._grid_weights = handle_weights(face, grid.reshape(-1, 2)).astype(np.float32)
        self._neutral = with_depth(face, _skin_landmarks(face))
        self._weights = handle_weights(face, self._neutral[:, :2])
        mouth_x = _LIP_T * face.mouth_w
        self._lip_z = height(face, mouth_x, np.full_like(mouth_x, face.mouth_y)) + 0.03
        lid_x = face.eye_x + _LID_T * face.eye_w
        self._lid_z = height(face, lid_x, np.zeros_like(lid_x)) + 0.02
        forehead = np.array([[-0.55, 0.84], [0.0, 0.9], [0.55, 0.84]]) * (1.0, face.hairline_y)
        self.forehead = with_depth(face, forehead)

    def move(self, expression: Expression) -> Shape:
        """Applies an expression."""
        halves = (expression.image_left, expression.image_right)
        motions = [handle_motion(half) for half in halves]
        vectors = np.concatenate([m * (s, 1.0, 1.0) for m, s in zip(motions, SIDES, strict=True)])
        moved = self._grid_weights @ vectors.astype(np.float32)
        points = self._neutral + self._weights @ vectors
        eyes = (
            self._eye(0, halves[0], expression.gaze),
            self._eye(1, halves[1], expression.gaze),
        )
        mouth = self._mouth(halves, motions)
        self._place_eyes(points, eyes)
        self._place_mouth(points, mouth)
        return Shape(points, self._grid + moved.reshape(self._grid.shape), eyes, mouth)

    def _eye(self, index: int, half: Floats, gaze: tuple[float, float]) -> Eye:
        face, side, t = self.face, SIDES[index], _LID_T
        closed = min(1.0, max(unit(half, "AU45"), unit(half, "AU43")))
        raised, tight, cheek = unit(half, "AU5"), unit(half, "AU7"), unit(half, "AU6")
        frown, nose = unit(half, "AU4"), unit(half, "AU9")
        line = 0.012 - face.eye_tilt * t - 0.012 * (t + 1.0) / 2
        opening = 1.0 + 0.62 * raised - 0.34 * tight - 0.12 * cheek - 0.10 * frown - 0.22 * nose
        up = face.eye_up * max(0.25, opening) * (1.0 - closed)
        low = face.eye_low * (1.0 - 0.50 * tight - 0.45 * cheek - 0.25 * nose + 0.08 * raised)
        low = max(low, 0.25 * face.eye_low)
        lower = line + _LOWER_LID * low * (1.0 - 0.15 * closed)
        upper = np.minimum(line - _UPPER_LID * up + _LOWER_LID * low * 0.85 * closed, lower)
        # grief lifts the inner third of the lid
        upper -= 0.02 * unit(half, "AU1") * frown * _LID_GRIEF
        crease = line - _UPPER_LID * face.eye_up * (1.35 + 0.25 * raised - 0.1 * closed) - 0.012
        crease += 0.03 * frown * (1.0 - raised)
        x = side * (face.eye_x + t * face.eye_w)
        z = self._lid_z
        iris = np.array([side * face.eye_x + gaze[0], 0.006 + gaze[1], float(z.max()) + 0.02])
        curves = [np.stack([x, y, z], axis=1) for y in (upper, lower, crease)]
        return Eye(curves[0], curves[1], curves[2], iris, closed)

    def _mouth(self, halves: tuple[Floats, Floats], motions: list[Floats]) -> Mouth:
        face, t = self.face, _LIP_T

        def blend(name: str) -> Floats:
            left, right = (unit(half, name) for half in halves)
            return left + (right - left) * _LIP_ACROSS

        corner = HANDLES.index("corner")
        dx, dy, dz = (
            np.where(t < 0, motions[0][corner, k], motions[1][corner, k]) * _LIP_END
            for k in range(3)
        )
        dx = np.where(t < 0, motions[0][corner, 0], motions[1][corner, 0]) * t
        x = t * face.mouth_w + dx
        smile, stretch, raise_upper = blend("AU12"), blend("AU20"), blend("AU10")
        nose, depress, chin = blend("AU9"), blend("AU16"), blend("AU17")
        press, tighten, drop = blend("AU24"), blend("AU23"), blend("AU26")
        apart = np.clip(blend("AU25") + 1.5 * drop, 0.0, 1.0) * (1.0 - 0.9 * press)
        square = 2.0 + 2.5 * np.clip(stretch + depress, 0.0, 1.0)
        arch = 1.0 - np.abs(t) ** square
        lift = (0.08 * raise_upper + 0.05 * nose) * _LIP_LIFT
        base = face.mouth_y + dy - 0.05 * chin * _LIP_BOW - 0.35 * lift * (1.0 - apart)
        up = apart * (0.022 + 0.045 * smile + 0.02 * stretch + 0.02 * drop) * arch + lift * apart
        low = apart * (0.03 + 0.08 * depress + 0.05 * smile + 0.05 * stretch) * arch
        low = low + 0.25 * drop * _LIP_DROP
        thin = (1.0 - 0.55 * press) * (1.0 - 0.42 * tighten) * (1.0 - 0.15 * stretch)
        upper = face.lip_up * thin * (1.0 - 0.28 * smile - 0.2 * nose - 0.15 * drop) * _UPPER_LIP
        lower = face.lip_low * thin * (1.0 - 0.2 * smile + 0.15 * chin) * _LOWER_LIP
        seam = base + _LIP_SEAM - 0.012
        inner_upper, inner_lower = seam - up, seam + low
        z = self._lip_z + dz + 0.025 * chin
        curves = [
            np.stack([x, y, z + push], axis=1)
            for y, push in (
                (inner_upper - upper - 0.004, -0.015),
                (inner_upper, 0.0),
                (inner_lower, -0.05 * drop),
                (inner_lower + lower + 0.004, -0.02 - 0.05 * drop),
            )
        ]
        gap = float(np.max(inner_lower - inner_upper))
        return Mouth(curves[0], curves[1], curves[2], curves[3], 0.25 * float(drop.mean()), gap)

    def _place_eyes(self, points: Floats, eyes: tuple[Eye, Eye]) -> None:
        for index, eye in enumerate(eyes):
            points[lm.EYE_INNER[index]] = eye.upper[0]
            points[lm.EYE_OUTER[index]] = eye.upper[-1]
            for place, sample in zip((0, 1, 2), (12, 8, 4), strict=True):
                points[lm.EYE_UPPER[index][place]] = eye.upper[sample]
                points[lm.EYE_LOWER[index][place]] = eye.lower[sample]
            points[lm.PUPIL[index]] = eye.iris
            points[lm.EYE_CENTER[index]] = (eye.upper[8] + eye.lower[8]) / 2

    def _place_mouth(self, points: Floats, mouth: Mouth) -> None:
        rows = (
            (lm.LIP_OUTER_UPPER, mouth.outer_upper, (-1.0, -0.60, -0.22, 0.0, 0.22, 0.60, 1.0)),
            (lm.LIP_OUTER_LOWER, mouth.outer_lower, (-0.62, -0.28, 0.0, 0.28, 0.62)),
            (lm.LIP_INNER_UPPER, mouth.inner_upper, (-0.88, -0.40, 0.0, 0.40, 0.88)),
            (lm.LIP_INNER_LOWER, mouth.inner_lower, (-0.40, 0.0, 0.40)),
        )
        for indices, curve, t in rows:
            for axis in range(3):
                points[list(indices), axis] = np.interp(t, _LIP_T, curve[:, axis])


def _skin_landmarks(face: Anatomy) -> Floats:
    """Neutral [106, 2] of the points that move with the skin; eyes and mouth are placed later."""
    points = np.zeros((lm.POINT_COUNT, 2))
    points[list(lm.CONTOUR)] = contour(face)
    for index, side in enumerate(SIDES):
        center, half = brow_curve(face, side, np.array([1.0, 0.75, 0.5, 0.25, 0.0]))
        points[list(lm.BROW_UPPER[index])] = center - half[:, None] * (0.0, 1.0)
        points[list(lm.BROW_LOWER[index])] = (center + half[:, None] * (0.0, 1.0))[1:]
        points[list(lm.NOSE_SIDE[index])] = [
            (side * face.bridge_w * 1.1, 0.04),
            (side * face.nose_w * 0.72, face.nose_y - 0.19),
            (side * face.nose_w, face.nose_y - 0.06),
        ]
        points[list(lm.NOSE_BASE[index])] = [
            (side * face.nose_w * 0.74, face.nose_y + 0.005),
            (side * face.nose_w * 0.36, face.nose_y + 0.02),
        ]
    tip = face.nose_y - 0.11
    points[list(lm.NOSE_BRIDGE)] = [(0.0, tip * k) for k in (0.0, 0.35, 0.68, 1.0)]
    points[lm.NOSE_BOTTOM] = (0.0, face.nose_y + 0.035)
    return points
