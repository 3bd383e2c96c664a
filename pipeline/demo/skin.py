"""Bakes a subject's head into textures: color, coverage, relief, gloss, folds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from arpgnet.pipeline.demo import canvas
from arpgnet.pipeline.demo.anatomy import (
    SIDES,
    Anatomy,
    brow_curve,
    bump,
    contour,
    height,
    smoothstep,
)
from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.hair import brow_strokes, paint_hair
from arpgnet.pipeline.demo.rig import GRID_STEP, Rig
from arpgnet.pipeline.demo.subject import Subject, draw_subject
from arpgnet.pipeline.demo.wrinkles import RELIEF_PPU, Fold, draw_folds

COLOR_PPU = 96
LEVELS = (96, 72, 48, 24)  # a small face samples a small texture, or it would flicker


Box = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Texture:
    """The head at one of `LEVELS`, cut to the box where it covers anything."""

    box: Box  # of the canonical square
    color: Floats  # RGB float32 [h, w, 3]
    coverage: Floats  # float32 [h, w]


@dataclass(frozen=True)
class Head:
    """Everything about a subject that does not change from frame to frame."""

    subject: Subject
    rig: Rig
    nodes: Box  # of the rig's grid, around all that the head covers
    textures: tuple[Texture, ...]  # per level
    slope_x: Floats  # at RELIEF_PPU
    slope_y: Floats
    relief: Box  # of the slopes, around all that the head covers; the next three are cut to it
    ambient: Floats  # share of the ambient light that reaches the skin
    sunlit: Floats  # share of the lamp's light that does
    gloss: Floats
    folds: list[Fold]


@lru_cache(maxsize=24)
def bake_head(seed: int) -> Head:
    """The head of the subject with this seed; about 0.1 s, so the last ones are kept."""
    subject = draw_subject(seed)
    face = subject.anatomy
    rng = np.random.default_rng([seed, 3])
    color = _skin_color(subject, rng)
    coverage = _skin_coverage(face)
    color = _paint_ears(subject, color)
    color = _paint_beard(subject, rng, color)
    color = _paint_brows(subject, rng, color)
    color, coverage, hair = paint_hair(subject, rng, color, coverage)
    x, y = canvas.coordinates(RELIEF_PPU)
    relief = height(face, x, y).astype(np.float32)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=RELIEF_PPU / 8.0)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=RELIEF_PPU / 8.0)
    hair_small = cv2.resize(hair, x.shape[::-1], interpolation=cv2.INTER_AREA)
    pores = canvas.noise(rng, x.shape, 1.0) * 0.035 + canvas.noise(rng, x.shape, 2.5) * 0.03
    slope_x += pores * (1.0 - hair_small)
    slope_y += canvas.noise(rng, x.shape, 1.2) * 0.04 * (1.0 - hair_small)
    gloss = subject.oiliness * (1.0 - hair_small) * _gloss_zones(face, x, y)
    covered = _box(cv2.resize(coverage, x.shape[::-1], interpolation=cv2.INTER_AREA), 2)
    ambient = _ambient(face, x, y, hair_small).astype(np.float32)[covered].copy()
    return Head(
        subject=subject,
        rig=Rig(face),
        nodes=_nodes(coverage),
        textures=tuple(_texture(color, coverage, ppu) for ppu in LEVELS),
        slope_x=slope_x,
        slope_y=slope_y,
        relief=covered,
        ambient=ambient,
        sunlit=0.45 + 0.55 * ambient,
        gloss=gloss.astype(np.float32)[covered].copy(),
        folds=draw_folds(subject),
    )


def _texture(color: Floats, coverage: Floats, ppu: int) -> Texture:
    size = canvas.size(ppu)[::-1]
    color = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(coverage, size, interpolation=cv2.INTER_AREA)
    # one texel more, which pixels at the edge are interpolated with
    box = _box(coverage, 1)
    return Texture(box, color[box].copy(), coverage[box].copy())


def _nodes(coverage: Floats) -> Box:
    """The nodes of the rig's grid around what is covered, two cells further than need be."""
    size = canvas.size(round(1.0 / GRID_STEP))[::-1]
    cells = _box(cv2.resize(coverage, size, interpolation=cv2.INTER_AREA), 2)
    return slice(cells[0].start, cells[0].stop + 1), slice(cells[1].start, cells[1].stop + 1)


def _box(coverage: Floats, margin: int) -> Box:
    """What is covered, with a margin."""
    rows, columns = (np.flatnonzero(coverage.any(axis)) for axis in (1, 0))
    h, w = coverage.shape
    return (
        slice(max(0, int(rows[0]) - margin), min(h, int(rows[-1]) + 1 + margin)),
        slice(max(0, int(columns[0]) - margin), min(w, int(columns[-1]) + 1 + margin)),
    )


def _skin_color(subject: Subject, rng: np.random.Generator) -> Floats:
    face = subject.anatomy
    x, y = canvas.coordinates(COLOR_PPU)
    shape = x.shape
    mottle = 1.0 + 0.022 * canvas.noise(rng, shape, 14.0) + 0.018 * canvas.noise(rng, shape, 4.0)
    mottle += 0.014 * canvas.noise(rng, shape, 1.0)
    color = np.asarray(subject.skin, np.float32) * mottle[..., None].astype(np.float32)
    red = np.zeros(shape)
    for s in SIDES:
        red += 0.8 * bump(x, y, (s * 0.58, 0.50), (0.28, 0.24)) * subject.blush
        red += 0.35 * bump(x, y, (s * 0.2, face.nose_y), (0.10, 0.10))
    red += 0.5 * bump(x, y, (0.0, face.nose_y - 0.08), (0.14, 0.14))
    red += 0.25 * bump(x, y, (0.0, face.chin_y - 0.15), (0.2, 0.14))
    color *= 1.0 - red[..., None] * np.array([0.01, 0.13, 0.11])
    socket = np.zeros(shape)
    for s in SIDES:
        socket += bump(x, y, (s * (face.eye_x - 0.03), -0.03), (0.24, 0.14))
        socket += 0.6 * bump(x, y, (s * (face.eye_x - 0.05), 0.15), (0.18, 0.05))
    color *= 1.0 - socket[..., None] * np.array([0.10, 0.15, 0.13])
    if subject.makeup > 0.5:
        shadow = sum(bump(x, y, (s * face.eye_x, -0.11), (0.22, 0.07)) for s in SIDES)
        color *= 1.0 - 0.35 * subject.makeup * np.asarray(shadow)[..., None]
    if subject.freckles > 0.05:
        dots = np.maximum(canvas.noise(rng, shape, 1.6) - 1.3, 0.0)
        where = bump(x, y, (0.0, 0.42), (0.75, 0.35))
        color *= 1.0 - np.clip(
            (subject.freckles * dots * where)[..., None] * np.array([0.3, 0.45, 0.5]), 0.0, 0.6
        )
    for _ in range(int(rng.integers(0, 4))):
        place = (float(rng.uniform(-0.75, 0.75)), float(rng.uniform(-0.7, 1.4)))
        size = float(rng.uniform(0.012, 0.026))
        color *= 1.0 - 0.6 * bump(x, y, place, (size, size))[..., None]
    return color.astype(np.float32)


def _skin_coverage(face: Anatomy) -> Floats:
    outline = contour(face)
    angle = np.linspace(0.0, np.pi, 41)[1:-1]
    # the skull closes the outline over the top
    top = np.stack([face.face_w * 1.02 * np.cos(angle), -0.08 - 1.42 * np.sin(angle)], axis=1)
    skull = canvas.polygon(np.concatenate([outline, top]), COLOR_PPU)
    ears = [canvas.polygon(ear_outline(face, s), COLOR_PPU) for s in SIDES]
    return canvas.soften(np.maximum.reduce([skull, *ears]), 0.9)


def ear_outline(face: Anatomy, side: float) -> Floats:
    """Outline [P, 2] of an ear, which starts behind the face's outline."""
    angle = np.linspace(0.0, 2.0 * np.pi, 28)
    wide = 0.115 + 0.02 * np.sin(angle - 0.6)
    x = face.face_w + 0.035 + wide * np.cos(angle) - 0.05 * np.sin(angle)
    return np.stack([side * x, 0.17 + 0.30 * np.sin(angle)], axis=1)


def _paint_ears(subject: Subject, color: Floats) -> Floats:
    face = subject.anatomy
    for s in SIDES:
        ear = canvas.polygon(ear_outline(face, s), COLOR_PPU, 0.01)
        x, _ = canvas.coordinates(COLOR_PPU)
        ear = ear * smoothstep(face.face_w - 0.03, face.face_w + 0.04, s * x)
        rim = ear_outline(face, s)
        inner = (rim - rim.mean(0)) * 0.62 + rim.mean(0)
        folds = canvas.strokes([inner[4:24]], COLOR_PPU, 0.035, 0.012)
        color = canvas.mix(color, np.array(subject.skin) * (0.92, 0.74, 0.70), ear * 0.8)
        color = canvas.mix(color, np.array(subject.skin) * (0.55, 0.40, 0.36), ear * folds * 0.7)
    return color


def _paint_beard(subject: Subject, rng: np.random.Generator, color: Floats) -> Floats:
    if subject.beard == "none":
        return color
    face = subject.anatomy
    x, y = canvas.coordinates(COLOR_PPU)
    lip_y = (face.nose_y + face.mouth_y) / 2 + 0.02
    moustache = bump(np.abs(x), y, (0.16, lip_y), (0.24, 0.095))
    corner = bump(np.abs(x), y, (face.mouth_w - 0.02, face.mouth_y + 0.20), (0.13, 0.26))
    chin = np.maximum(bump(x, y, (0.0, face.chin_y - 0.16), (0.30, 0.30)), 0.9 * corner)
    jaw_line = face.chin_y - 0.62 * (np.abs(x) / face.face_w) ** 1.6 - 0.38
    jaw = smoothstep(-0.06, 0.10, y - jaw_line)
    zone = {
        "stubble": np.maximum(jaw, moustache) * 0.8,
        "moustache": moustache,
        "goatee": np.maximum(moustache, chin),
        "full": np.maximum.reduce([jaw, moustache, 0.8 * corner]),
    }[subject.beard]
    zone = zone * (1.0 - bump(x, y, (0.0, face.mouth_y + 0.02), (face.mouth_w * 0.85, 0.11)))
    coarse, fine = canvas.noise(rng, x.shape, 2.0), canvas.noise(rng, x.shape, 0.8)
    if subject.beard == "stubble":
        alpha = zone * np.clip(0.30 + 0.22 * fine, 0.0, 1.0)
    else:
        alpha = smoothstep(0.28, 0.62, zone + 0.06 * coarse) * np.clip(0.86 + 0.12 * fine, 0.0, 1.0)
    shade = 1.0 + 0.22 * canvas.noise(rng, x.shape, 1.1)[..., None]
    hair = np.asarray(subject.hair_color) * 0.9 * np.clip(shade, 0.4, 1.8)
    return canvas.mix(color, hair, alpha.astype(np.float32)).astype(np.float32)


def _paint_brows(subject: Subject, rng: np.random.Generator, color: Floats) -> Floats:
    face = subject.anatomy
    hair = np.asarray(subject.hair_color, np.float32)
    # gray and fair hair keeps darker brows
    hair = np.minimum(hair * 0.85, 105.0)
    for side in SIDES:
        t = np.linspace(0.0, 1.0, 15)
        center, half = brow_curve(face, side, t)
        edge = half[:, None] * (0.0, 1.0)
        body = canvas.polygon(
            np.concatenate([center - edge, (center + edge)[::-1]]), COLOR_PPU, 0.012
        )
        lines = brow_strokes(face, side, rng)
        hairs = canvas.strokes(lines, COLOR_PPU, 0.01)
        color = canvas.mix(color, hair * 1.1, body * 0.62)
        color = canvas.mix(color, hair * 0.75, hairs * np.clip(body * 1.6 + 0.15, 0.0, 0.85))
    return color.astype(np.float32)


def _gloss_zones(face: Anatomy, x: Floats, y: Floats) -> Floats:
    zones = 0.35 + 0.45 * bump(x, y, (0.0, -0.6), (0.45, 0.3))
    zones += 0.8 * bump(x, y, (0.0, face.nose_y - 0.15), (0.13, 0.28))
    for s in SIDES:
        zones += 0.55 * bump(x, y, (s * 0.56, 0.34), (0.2, 0.16))
    return zones


def _ambient(face: Anatomy, x: Floats, y: Floats, hair: Floats) -> Floats:
    """Ambient occlusion: hollows get less light than the rest."""
    open_sky = np.ones_like(x)
    for s in SIDES:
        open_sky -= 0.22 * bump(x, y, (s * (face.eye_x - 0.1), -0.06), (0.20, 0.12))
        open_sky -= 0.26 * bump(x, y, (s * (face.nose_w + 0.04), face.nose_y - 0.04), (0.06, 0.11))
        # nostrils
        open_sky -= 0.78 * bump(x, y, (s * face.nose_w * 0.42, face.nose_y + 0.005), (0.055, 0.026))
    open_sky -= 0.30 * bump(x, y, (0.0, face.nose_y + 0.045), (face.nose_w * 0.9, 0.045))
    open_sky -= 0.20 * bump(x, y, (0.0, face.mouth_y + 0.20), (0.24, 0.06))
    # the sides turn away and the hair shades the skin beside it
    open_sky -= 0.32 * smoothstep(0.72, 1.08, np.abs(x))
    shaded = canvas.soften(hair.astype(np.float32), 0.07 * RELIEF_PPU)
    open_sky -= 0.30 * shaded * (1.0 - hair)
    open_sky -= 0.25 * smoothstep(-0.12, 0.02, y - face.chin_y + 0.55 * np.abs(x) ** 2)
    return np.clip(open_sky, 0.12, 1.0)
