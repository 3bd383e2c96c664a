"""What a subject looks like: proportions, colors, hair, brows, beard, glasses, skin, age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.demo.action_units import ACTION_UNITS, AU
from arpgnet.pipeline.demo.anatomy import Anatomy, draw_anatomy
from arpgnet.pipeline.demo.arrays import Floats

Color = tuple[float, float, float]  # RGB in [0, 255]

SUBJECT_SEEDS_DEMO = range(1000)  # the demo's videos; the demo face pack trains from 100,000 on

# from the lightest to the darkest of the Monk scale, as RGB under white light
_SKIN: tuple[Color, ...] = (
    (246, 218, 198),
    (238, 203, 178),
    (228, 187, 156),
    (214, 168, 134),
    (196, 148, 112),
    (170, 122, 88),
    (142, 99, 70),
    (116, 80, 58),
    (92, 63, 47),
)
_HAIR_COLORS: tuple[Color, ...] = (
    (28, 22, 20),
    (44, 32, 26),
    (70, 48, 34),
    (104, 72, 46),
    (150, 108, 66),
    (192, 156, 104),
    (128, 60, 36),
    (150, 146, 142),
)
_EYES: tuple[Color, ...] = (
    (62, 38, 24),
    (88, 56, 32),
    (110, 88, 52),
    (96, 112, 80),
    (92, 120, 150),
    (118, 130, 136),
)
HAIR_STYLES = ("bald", "short", "side", "fringe", "long", "curly", "bun", "scarf")
_RESTING_UNITS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU15", "AU17", "AU24", "AU43")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")


@dataclass(frozen=True)
class Subject:
    """One person; equal seeds give equal persons."""

    seed: int
    anatomy: Anatomy
    skin: Color
    hair: str
    hair_color: Color
    cloth_color: Color
    scarf_color: Color
    eye_color: Color
    lip_color: Color
    beard: str
    glasses: Color | None
    glasses_round: float
    freckles: float
    wrinkles: float
    oiliness: float
    blush: float
    makeup: float
    expressiveness: Floats  # [A], how strongly this person shows each unit
    resting: Floats  # [A], intensities of the face at rest: some people look stern or sad


def draw_subject(seed: int) -> Subject:
    """Draws a person."""
    rng = np.random.default_rng([seed, 1])
    tone = rng.uniform(0.0, len(_SKIN) - 1.001)
    step = int(tone)
    skin = np.array(_SKIN[step]) * (1 - tone % 1) + np.array(_SKIN[step + 1]) * (tone % 1)
    skin = np.clip(skin * (1.0 + rng.normal(0.0, 0.015, 3)), 40, 250)
    feminine = bool(rng.random() < 0.5)
    old = float(rng.beta(1.5, 2.2))
    dark = 3 if tone > 4 else len(_HAIR_COLORS) - 1
    hair_color = np.array(_HAIR_COLORS[int(rng.integers(dark))])
    if old > 0.65 and rng.random() < 0.7:
        hair_color = np.array(_HAIR_COLORS[-1])
    hair_color = np.clip(hair_color * rng.uniform(0.85, 1.2), 12, 230)
    chances = (
        (0.02, 0.08, 0.16, 0.2, 0.26, 0.1, 0.1, 0.08)
        if feminine
        else (*(0.14, 0.36, 0.24, 0.08, 0.04, 0.14, 0.0, 0.0),)
    )
    beard = "none" if feminine else str(rng.choice(BEARDS, p=(0.38, 0.27, 0.09, 0.11, 0.15)))
    redness = np.array([0.80, 0.56, 0.56]) if tone < 4.5 else np.array([0.86, 0.66, 0.66])
    makeup = float(rng.uniform(0.0, 1.0)) if feminine else 0.0
    lips = skin * redness * (1 - 0.3 * makeup) + np.array([170, 40, 60]) * 0.3 * makeup
    glasses = None
    if rng.random() < 0.24:
        frames = ((26, 24, 24), (72, 44, 30), (140, 130, 116), (40, 44, 84))
        glasses = frames[int(rng.integers(len(frames)))]
    return Subject(
        seed=seed,
        anatomy=draw_anatomy(rng),
        skin=_color(skin),
        hair=str(rng.choice(HAIR_STYLES, p=chances)),
        hair_color=_color(hair_color),
        cloth_color=_color(rng.uniform(25, 210, 3)),
        scarf_color=_color(rng.uniform(40, 200, 3)),
        eye_color=_color(np.array(_EYES[int(rng.integers(2 if tone > 4 else len(_EYES)))])),
        lip_color=_color(lips),
        beard=beard,
        glasses=glasses,
        glasses_round=float(rng.uniform(0.0, 1.0)),
        freckles=float(rng.random() ** 3 if tone < 3.5 else 0.0),
        wrinkles=0.45 + 0.55 * old,
        oiliness=float(rng.uniform(0.3, 1.0)),
        blush=float(rng.uniform(0.3, 1.0)),
        makeup=makeup,
        expressiveness=np.clip(rng.normal(0.98, 0.10, len(ACTION_UNITS)), 0.75, 1.2),
        resting=_resting(rng),
    )


def _resting(rng: np.random.Generator) -> Floats:
    resting = np.zeros(len(ACTION_UNITS))
    for name in rng.choice(_RESTING_UNITS, 3, replace=False):
        resting[AU[name]] = rng.uniform(0.0, 0.38)
    return resting


def _color(values: Floats) -> Color:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
