"""What surrounds a face: light, background, body, things in front of it, and the camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from arpgnet.pipeline.demo import canvas
from arpgnet.pipeline.demo.anatomy import smoothstep
from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.subject import Subject

SPRITE_PPU = 48
GRAIN_ROOM = 64  # px by which the bank of noise exceeds the frame
BODY_X, BODY_Y = (-3.2, 3.2), (-1.4, 5.0)
OCCLUDERS = ("hand", "scarf", "hair", "shadow", "cup")
# occluder -> half width and half height of its image, face units
_SPRITE_HALF = {
    "hand": (1.1, 1.1),
    "scarf": (1.6, 0.8),
    "hair": (0.8, 1.1),
    "shadow": (2.2, 2.2),
    "cup": (0.7, 0.7),
}


@dataclass(frozen=True)
class Occluder:
    """An RGBA image in front of the face, placed in the head's plane."""

    kind: str
    sprite: Image  # [h, w, 4]
    place: tuple[float, float]  # of its center, face units
    angle: float
    opacity: float


@dataclass(frozen=True)
class Scene:
    """One take: nothing here changes within a clip."""

    light: Floats  # unit vector towards the lamp, camera axes
    key: Floats  # RGB strength of the lamp
    ambient: Floats
    background: Image  # RGB [H, W, 3]
    body: Image  # RGBA at SPRITE_PPU
    occluder: Occluder | None
    blur: float  # px
    grain: tuple[Image, Image]  # added and taken off: [H + GRAIN_ROOM, W + GRAIN_ROOM, 3] each
    tone: Image  # lookup table [256, 1, 3]


def draw_scene(subject: Subject, rng: np.random.Generator, frame_px: int, occluded: bool) -> Scene:
    """Draws light, room and camera for one take."""
    azimuth, elevation = rng.normal(0.0, 0.55), rng.normal(0.45, 0.3)
    azimuth, elevation = float(np.clip(azimuth, -1.2, 1.2)), float(np.clip(elevation, -0.2, 1.0))
    light = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    warmth = rng.normal(0.0, 0.08)
    tint = np.array([1.0 + warmth, 1.0, 1.0 - warmth])
    share = rng.uniform(0.40, 0.72)  # of the light that is ambient
    exposure = rng.uniform(0.78, 1.18)
    ambient = exposure * share * (0.5 + 0.5 * tint[::-1])
    key = exposure * (1.12 - share) * tint
    background = _background(rng, frame_px)
    light_level = np.clip(0.6 + 0.4 * exposure, 0.6, 1.1)
    background = np.clip(background * light_level, 0, 255).astype(np.uint8)
    return Scene(
        light=light,
        key=key,
        ambient=ambient,
        background=background,
        body=_body(subject, rng, light, ambient + 0.75 * key),
        occluder=_occluder(subject, rng) if occluded else None,
        blur=float(max(0.0, rng.normal(0.35, 0.35)) * frame_px / 256.0),
        grain=_grain(rng, frame_px),
        tone=_tone(rng),
    )


def _background(rng: np.random.Generator, px: int) -> Floats:
    """A room out of focus: gradient, mottled wall, boxes, lines and disks."""
    size = 128
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    base = _room_color(rng)
    slope = rng.normal(0.0, 40.0, (2, 1)) + rng.normal(0.0, 10.0, (2, 3))
    room = base + (x[..., None] - 0.5) * slope[0] + (y[..., None] - 0.5) * slope[1]
    for sigma, strength in ((20.0, 14.0), (4.0, 6.0)):
        room = room + strength * rng.random() * canvas.noise(rng, (size, size), sigma)[..., None]
    room = np.ascontiguousarray(room, np.float32)
    for _ in range(int(rng.integers(3, 16))):
        color = tuple(float(v) for v in np.clip(0.4 * base + 0.6 * _room_color(rng), 5, 250))
        a = rng.integers(-10, size + 10, 2).tolist()
        b = (np.array(a) + rng.integers(-50, 50, 2)).tolist()
        kind = int(rng.integers(4))
        if kind == 0:
            cv2.rectangle(room, a, b, color, -1)
        elif kind == 1:
            cv2.line(room, a, b, color, int(rng.integers(1, 7)))
        elif kind == 2:
            cv2.circle(room, a, int(rng.integers(3, 26)), color, -1)
        else:
            for k in range(int(rng.integers(3, 9))):
                step = int(k * rng.uniform(6, 9))
                cv2.rectangle(room, (a[0] + step, a[1]), (a[0] + step + 4, a[1] + 34), color, -1)
    room = canvas.soften(room, float(rng.uniform(0.4, 3.0)))
    room = cv2.resize(room, (px, px), interpolation=cv2.INTER_CUBIC)
    return room + 3.0 * rng.standard_normal((px, px, 1), dtype=np.float32)


def _room_color(rng: np.random.Generator) -> Floats:
    """A wall's or a thing's color, seldom saturated."""
    return rng.uniform(25, 225) + rng.normal(0.0, 24.0, 3) * rng.random()


def _body(subject: Subject, rng: np.random.Generator, light: Floats, level: Floats) -> Image:
    """Neck, shoulders and the hair behind them as one RGBA image."""
    ppu = 24
    h, w = round((BODY_Y[1] - BODY_Y[0]) * ppu), round((BODY_X[1] - BODY_X[0]) * ppu)
    x = ((np.arange(w) + 0.5) / ppu + BODY_X[0])[None, :].repeat(h, 0)
    y = ((np.arange(h) + 0.5) / ppu + BODY_Y[0])[:, None].repeat(w, 1)
    face = subject.anatomy
    color = np.zeros((h, w, 3), np.float32)
    alpha = np.zeros((h, w), np.float32)

    def lay(paint: Floats, cover: Floats) -> None:
        nonlocal color, alpha
        color = canvas.mix(color, paint, cover.astype(np.float32))
        alpha = np.maximum(alpha, cover).astype(np.float32)

    if subject.hair == "long":
        fall = face.face_w + 0.20 + 0.10 * np.sin(y * 2.0 + 1.0)
        back = smoothstep(0.0, 0.08, fall - np.abs(x)) * smoothstep(-0.4, 0.0, y)
        back *= smoothstep(0.0, 0.5, 2.9 - y + 0.15 * canvas.noise(rng, (h, w), 4.0))
        strands = 0.75 + 0.16 * canvas.noise(rng, (1, w), 1.2)
        lay(np.asarray(subject.hair_color) * np.clip(strands, 0.3, 1.4)[..., None], back)
    half = face.jaw_w * 0.80 + 0.10 * np.maximum(y - 1.6, 0.0) ** 2
    neck = smoothstep(-0.02, 0.05, half - np.abs(x)) * (y > 0.4)
    round_off = np.sqrt(np.clip(1.0 - (x / (half + 0.06)) ** 2, 0.05, 1.0))
    toward = 1.0 + 0.35 * light[0] * np.clip(x / half, -1.0, 1.0)
    chin_shadow = 1.0 - 0.38 * np.exp(-(((y - face.chin_y + 0.05) / 0.42) ** 2))
    tone = (0.55 + 0.42 * round_off) * toward * chin_shadow
    lay(np.asarray(subject.skin) * (1.0, 0.96, 0.94) * tone[..., None], neck)
    drop = 2.12 + 0.15 * np.abs(x) + 0.22 * np.maximum(np.abs(x) - 1.4, 0.0) ** 2.5
    collar = np.maximum(0.0, 0.62 - np.abs(x)) * float(rng.uniform(0.3, 1.0))
    cloth = smoothstep(0.0, 0.07, y - drop - collar) * smoothstep(0.0, 0.06, 2.55 - np.abs(x))
    weave = 1.0 + 0.06 * canvas.noise(rng, (h, w), 1.0) + 0.08 * canvas.noise(rng, (h, w), 9.0)
    if rng.random() < 0.35:
        weave = weave * (1.0 + 0.22 * np.sign(np.sin(y * rng.uniform(8.0, 22.0))))
    shade = 0.8 * (1.0 + 0.25 * light[0] * np.clip(x / 2.4, -1.0, 1.0)) * weave
    lay(np.asarray(subject.cloth_color) * shade[..., None], cloth)
    lit = np.clip(color * np.sqrt(level), 0, 255)
    return np.dstack([lit, alpha * 255.0]).astype(np.uint8)


def _occluder(subject: Subject, rng: np.random.Generator) -> Occluder:
    kind = str(rng.choice(OCCLUDERS, p=(0.32, 0.16, 0.18, 0.22, 0.12)))
    sprite = {
        "hand": _hand,
        "scarf": _scarf,
        "hair": _lock,
        "shadow": _shadow,
        "cup": _cup,
    }[kind](subject, rng)
    side = float(rng.choice((-1.0, 1.0)))
    places = {
        "hand": (side * rng.uniform(0.35, 0.95), rng.uniform(0.7, 1.6)),
        "scarf": (0.0, subject.anatomy.mouth_y + rng.uniform(0.55, 0.85)),
        "hair": (side * rng.uniform(0.45, 0.8), rng.uniform(-0.5, -0.1)),
        "shadow": (side * rng.uniform(1.2, 2.2), rng.uniform(-1.2, 1.2)),
        "cup": (side * rng.uniform(0.2, 0.6), rng.uniform(1.25, 1.6)),
    }
    x, y = places[kind]
    angle = {"hand": -side * rng.uniform(0.1, 0.9), "shadow": rng.uniform(-3.0, 3.0)}.get(kind, 0.0)
    opacity = float(rng.uniform(0.3, 0.6)) if kind == "shadow" else 1.0
    return Occluder(kind, sprite, (float(x), float(y)), float(angle), opacity)


def _sprite_grid(kind: str) -> tuple[Floats, Floats]:
    wide, tall = _SPRITE_HALF[kind]
    w, h = round(2 * wide * SPRITE_PPU), round(2 * tall * SPRITE_PPU)
    x = ((np.arange(w) + 0.5) / SPRITE_PPU - wide)[None, :].repeat(h, 0)
    y = ((np.arange(h) + 0.5) / SPRITE_PPU - tall)[:, None].repeat(w, 1)
    return x, y


def _rgba(color: Floats, alpha: Floats) -> Image:
    return np.dstack([np.clip(color, 0, 255), alpha * 255.0]).astype(np.uint8)


def _hand(subject: Subject, rng: np.random.Generator) -> Image:
    x, y = _sprite_grid("hand")
    distance = np.hypot(x / 0.34, (y - 0.30) / 0.42) * 0.36 - 0.36
    fingers = [
        (-0.30 + 0.19 * k, float(rng.uniform(-0.62, -0.42) + 0.06 * abs(k - 1.4))) for k in range(4)
    ]
    fingers.append((-0.62, 0.02))
    edges = np.zeros_like(x)
    for tip_x, tip_y in fingers:
        base = np.array([tip_x * 0.75, 0.25])
        tip = np.array([tip_x, tip_y])
        along = tip - base
        t = np.clip(((x - base[0]) * along[0] + (y - base[1]) * along[1]) / (along @ along), 0, 1)
        reach = np.hypot(x - base[0] - t * along[0], y - base[1] - t * along[1]) - 0.088
        edges += np.exp(-((reach / 0.02) ** 2)) * (y < 0.1)
        distance = np.minimum(distance, reach)
    arm = np.maximum(np.abs(x) - 0.24, 0.45 - y)
    distance = np.minimum(distance, arm)
    alpha = smoothstep(0.015, -0.015, distance)
    tone = 0.98 - 0.22 * smoothstep(-0.09, 0.0, distance) - 0.20 * np.clip(edges, 0, 1) + 0.05 * y
    tone = tone + 0.02 * canvas.noise(rng, x.shape, 2.0)
    return _rgba(np.asarray(subject.skin) * (1.0, 0.93, 0.90) * tone[..., None], alpha)


def _scarf(subject: Subject, rng: np.random.Generator) -> Image:
    x, y = _sprite_grid("scarf")
    top = -0.42 + 0.16 * x**2 + 0.03 * np.sin(5.0 * x + rng.uniform(0, 6))
    alpha = smoothstep(0.0, 0.03, y - top) * smoothstep(0.0, 0.2, 1.55 - np.abs(x))
    folds = (
        1.0
        + 0.16 * np.sin(15.0 * (y - top) + 1.5 * np.sin(2.0 * x))
        - 0.2 * np.exp(-(((y - top) / 0.05) ** 2))
    )
    folds = folds + 0.05 * canvas.noise(rng, x.shape, 1.0)
    return _rgba(np.asarray(subject.scarf_color) * folds[..., None], alpha)


def _lock(subject: Subject, rng: np.random.Generator) -> Image:
    x, y = _sprite_grid("hair")
    bend = float(rng.uniform(-0.25, 0.25))
    cover = np.zeros_like(x)
    for _ in range(14):
        start, width = rng.uniform(-0.24, 0.24), rng.uniform(0.015, 0.045)
        middle = start * (1.0 - 0.35 * y) + bend * y**2 + rng.normal(0.0, 0.03) * y
        end = smoothstep(0.0, 0.2, rng.uniform(0.3, 1.0) - y)
        cover = np.maximum(cover, smoothstep(width, width * 0.3, np.abs(x - middle)) * end)
    shade = np.clip(0.9 + 0.25 * canvas.noise(rng, (1, x.shape[1]), 1.0), 0.3, 1.8)
    color = np.asarray(subject.hair_color) * shade[..., None] * np.ones((*x.shape, 1))
    return _rgba(color, cover * 0.92)


def _shadow(subject: Subject, rng: np.random.Generator) -> Image:
    x, y = _sprite_grid("shadow")
    del subject
    edge = 1.6 + 0.12 * np.sin(3.0 * y + rng.uniform(0, 6)) - np.abs(x)
    soft = float(rng.uniform(0.05, 0.35))
    alpha = smoothstep(-soft, soft, edge) * smoothstep(0.0, 0.5, 2.15 - np.abs(y))
    return _rgba(np.full((*x.shape, 3), (14, 12, 16)), alpha)


def _cup(subject: Subject, rng: np.random.Generator) -> Image:
    x, y = _sprite_grid("cup")
    half = 0.42 - 0.08 * (y + 0.6)
    alpha = smoothstep(0.0, 0.03, half - np.abs(x)) * smoothstep(0.0, 0.03, y + 0.45)
    rim = 1.0 + 0.25 * np.exp(-(((y + 0.42) / 0.04) ** 2))
    tone = (0.62 + 0.42 * np.sqrt(np.clip(1.0 - (x / half) ** 2, 0, 1))) * rim
    del subject
    return _rgba(rng.uniform(60, 235, 3) * tone[..., None], alpha)


def _grain(rng: np.random.Generator, px: int) -> tuple[Image, Image]:
    """A bank of sensor noise, cropped at a random place for every frame.

    Its positive and its negative part, since bytes add up five times as fast as signed numbers.
    """
    strength = np.float32(rng.uniform(0.8, 6.0))
    noise = np.round(_unit_grain(px + GRAIN_ROOM) * strength)
    return np.maximum(noise, 0.0).astype(np.uint8), np.maximum(-noise, 0.0).astype(np.uint8)


@lru_cache(maxsize=4)
def _unit_grain(px: int) -> Floats:
    rng = np.random.default_rng(px)
    luma = rng.standard_normal((px, px, 1), dtype=np.float32)
    chroma = rng.standard_normal((px, px, 3), dtype=np.float32)
    return 0.8 * luma + 0.5 * chroma


def _tone(rng: np.random.Generator) -> Image:
    """The camera's curve: gamma, contrast and white balance as one lookup table."""
    level = np.arange(256, dtype=np.float32)[:, None] / 255.0
    gamma = float(np.exp(rng.normal(0.0, 0.14)))
    gains = 1.0 + rng.normal(0.0, 0.03, 3)
    contrast = float(rng.uniform(0.85, 1.12))
    curve = (level**gamma - 0.5) * contrast + 0.5
    return np.clip(curve * gains * 255.0, 0, 255).astype(np.uint8)[:, None, :]
