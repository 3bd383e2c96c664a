"""Hair of the head and of the brows, painted into the canonical textures."""

from __future__ import annotations

import cv2
import numpy as np

from arpgnet.pipeline.demo import canvas
from arpgnet.pipeline.demo.anatomy import Anatomy, brow_curve, smoothstep
from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.subject import Subject


def brow_strokes(face: Anatomy, side: float, rng: np.random.Generator) -> list[Floats]:
    """Short hairs [2, 2] along a brow: upright at the inner end, lying down towards the tip."""
    t = rng.uniform(0.0, 0.97, 90)
    across = rng.uniform(-1.0, 1.0, 90)
    center, half = brow_curve(face, side, t)
    start = center + np.stack([np.zeros(90), across * half], axis=1)
    angle = np.deg2rad(70.0 - 75.0 * t + rng.normal(0.0, 9.0, 90))
    length = rng.uniform(0.045, 0.085, 90) * (1.0 - 0.3 * t)
    end = start + np.stack([side * np.cos(angle), -np.sin(angle)], axis=1) * length[:, None]
    return [np.stack(pair) for pair in zip(start, end, strict=True)]


def paint_hair(
    subject: Subject, rng: np.random.Generator, color: Floats, coverage: Floats
) -> tuple[Floats, Floats, Floats]:
    """Lays the hair over a head texture.

    Returns:
        color [h, w, 3], coverage [h, w], and how far hair covers the skin [h, w].
    """
    ppu = round(color.shape[1] / 3.5)
    if subject.hair == "bald":
        return color, coverage, np.zeros_like(coverage)
    if subject.hair == "scarf":
        return _headscarf(subject, rng, color, coverage, ppu)
    x, y = canvas.coordinates(ppu)
    outer, inner = _outlines(subject, rng)
    mask = canvas.polygon(outer, ppu) * (1.0 - canvas.polygon(inner, ppu, 0.01))
    curly = subject.hair == "curly"
    fuzz = canvas.noise(rng, mask.shape, 5.0 if curly else 1.6) * (0.26 if curly else 0.13)
    soft = canvas.soften(mask, (0.045 if curly else 0.022) * ppu)
    alpha = smoothstep(0.34, 0.66, soft + fuzz * 4.0 * soft * (1.0 - soft))
    shade = _strands(subject, rng, x, y, curly)
    hair = np.asarray(subject.hair_color, np.float32) * shade[..., None]
    color = canvas.mix(color, hair, alpha)
    return color.astype(np.float32), np.maximum(coverage, alpha).astype(np.float32), alpha


def _strands(
    subject: Subject, rng: np.random.Generator, x: Floats, y: Floats, curly: bool
) -> Floats:
    if curly:
        lumps = canvas.noise(rng, x.shape, 4.5) * 0.30 + canvas.noise(rng, x.shape, 1.5) * 0.18
        return np.clip(1.0 + lumps, 0.35, 2.0).astype(np.float32)
    # strands run away from the crown: stretch noise along the radius
    part = {"side": -0.45, "fringe": 0.0, "bun": 0.0}.get(
        subject.hair, float(rng.uniform(-0.3, 0.3))
    )
    away_x, away_y = x - part, y + 1.75
    angle = np.arctan2(away_x, away_y + 0.25)
    radius = np.hypot(away_x, away_y)
    wobble = canvas.noise(rng, x.shape, 18.0) * 0.04
    bank = rng.standard_normal((40, 512)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(bank, (0, 0), sigmaX=1.0, sigmaY=2.5))
    bank = smooth / smooth.std()
    column = ((angle + wobble) / (2 * np.pi) + 0.5) * 511.0
    row = np.clip(radius * 11.0, 0.0, 39.0)
    fine = cv2.remap(bank, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR)
    locks = cv2.remap(
        canvas.soften(bank, 3.0) * 4.0,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
    )
    band = np.exp(-(((radius - 0.72) / 0.25) ** 2))
    return np.clip(1.0 + 0.15 * fine + 0.09 * locks + 0.18 * band, 0.35, 2.2).astype(np.float32)


def _outlines(subject: Subject, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Outer edge of the hair and the edge of the bare face inside it, [P, 2] each."""
    face, style = subject.anatomy, subject.hair
    wide = face.face_w + {"short": 0.05, "side": 0.08, "fringe": 0.11, "long": 0.16}.get(
        style, 0.04
    )
    top = 1.52 + {"short": 0.06, "side": 0.12, "fringe": 0.12, "long": 0.12}.get(style, 0.04)
    low = {"short": 0.12, "side": 0.10, "fringe": 0.35, "long": 1.95, "curly": 0.35}.get(style, 0.0)
    if style == "curly":
        wide, top = face.face_w + 0.26, 1.80
    angle = np.linspace(0.0, np.pi, 40)
    arc = np.stack([wide * np.cos(angle), -0.05 - (top - 0.05) * np.sin(angle)], axis=1)
    flare = 1.06 if style == "long" else 0.985
    outer = np.concatenate([[(wide * flare, low)], arc, [(-wide * flare, low)]])
    line = face.hairline_y + float(rng.normal(0.0, 0.03))
    temple = face.face_w * (0.86 if style != "long" else 0.80)
    if style == "bun":
        knot = np.stack([0.34 * np.cos(angle), -1.5 - 0.36 * np.sin(angle)], axis=1)
        outer = np.concatenate([outer[:20], knot, outer[20:]])
        temple = face.face_w * 0.93
    if style in ("fringe",):
        edge = face.brow_y - 0.13
        t = np.linspace(-1.0, 1.0, 23)
        jag = rng.uniform(-0.045, 0.045, 23)
        front = np.stack([t * temple * 0.93, edge - 0.10 * (1 - np.abs(t)) * 0.3 + jag], axis=1)
    elif style == "side":
        t = np.linspace(-1.0, 1.0, 15)
        sweep = (
            line
            + 0.34 * ((t + 0.35) / 1.35) ** 2 * (t > -0.35)
            + 0.6 * np.maximum(-0.35 - t, 0) ** 1.5
        )
        front = np.stack([t * temple * 0.95, sweep], axis=1)
    elif style == "long":
        t = np.linspace(-1.0, 1.0, 15)
        front = np.stack(
            [t * temple * 0.95, line + 0.62 * np.abs(t) ** 1.7 - 0.06 * (np.abs(t) < 0.08)], axis=1
        )
    else:
        t = np.linspace(-1.0, 1.0, 15)
        front = np.stack([t * temple * 0.92, line + 0.28 * np.abs(t) ** 3], axis=1)
    side_low = low + 0.02 if style in ("long", "fringe", "curly") else low - 0.02
    right = [(temple, -0.42), (temple * 1.03, -0.1), (face.face_w * 1.0, side_low)]
    if style == "long":
        right = [(temple * 1.02, -0.2), (temple * 1.05, 0.5), (temple * 0.98, 1.2), (0.8, 2.0)]
    left = [(-px, py) for px, py in right]
    inner = np.concatenate([front, right, left[::-1]])
    return outer, inner


def _headscarf(
    subject: Subject, rng: np.random.Generator, color: Floats, coverage: Floats, ppu: int
) -> tuple[Floats, Floats, Floats]:
    face = subject.anatomy
    x, y = canvas.coordinates(ppu)
    angle = np.linspace(0.0, 2.0 * np.pi, 60)
    wide = face.face_w * 0.95
    middle = (face.hairline_y + 0.12 + face.chin_y) / 2
    tall = (face.chin_y - face.hairline_y - 0.12) / 2 + 0.01
    opening = np.stack([wide * np.cos(angle), middle + tall * np.sin(angle)], axis=1)
    outer = np.stack([(face.face_w + 0.20) * np.cos(angle), 0.05 - 1.72 * np.sin(angle)], axis=1)
    outer = np.concatenate([outer[:30], [(-1.25, 0.6), (-1.1, 2.0), (1.1, 2.0), (1.25, 0.6)]])
    mask = canvas.polygon(outer, ppu) * (1.0 - canvas.polygon(opening, ppu))
    alpha = canvas.soften(mask, 0.8)
    radius = np.hypot(x / wide, (y - middle) / tall)
    folds = np.sin(radius * 26.0 + canvas.noise(rng, x.shape, 30.0) * 1.5) * 0.07
    rim = 0.16 * np.exp(-(((radius - 1.03) / 0.05) ** 2))
    weave = 1.0 + folds - rim + 0.02 * canvas.noise(rng, x.shape, 1.0)
    cloth = np.asarray(subject.scarf_color, np.float32) * weave[..., None].astype(np.float32)
    color = canvas.mix(color, cloth, alpha)
    # between face and cloth lies the neck in shadow, not the room behind
    coverage = np.maximum(coverage, canvas.soften(canvas.polygon(outer, ppu), 0.8))
    return color.astype(np.float32), coverage.astype(np.float32), alpha
