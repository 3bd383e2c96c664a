"""What happens in a clip: action units over time, blinks, speech, head motion, occlusion.

The classes share action units and differ in course as well: fear comes in a trembling rush and
stays, surprise comes as fast but goes again, grief creeps in, speech moves the mouth of any class.
Times follow the published ranges (Ekman and Friesen, 1982: surprise below a second; felt smiles
0.5 s to 4 s with smooth onsets).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.demo.action_units import ACTION_UNITS, AU
from arpgnet.pipeline.demo.anatomy import smoothstep
from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.frame import FACE_HEIGHT, MAX_PITCH, MAX_ROLL, MAX_YAW
from arpgnet.pipeline.demo.prototypes import draw_variant
from arpgnet.pipeline.demo.rig import Pose
from arpgnet.pipeline.demo.subject import Subject

DURATION_S = (1.2, 2.4)


@dataclass(frozen=True)
class Course:
    """Ranges in seconds from which a class draws its onset, apex and offset."""

    onset: tuple[float, float]
    apex: tuple[float, float]
    offset: tuple[float, float]
    tremor: float = 0.0  # share of the intensity


_COURSES = {
    "anger": Course((0.25, 0.55), (0.6, 1.6), (0.3, 0.7)),
    "contempt": Course((0.25, 0.60), (0.4, 1.2), (0.3, 0.7)),
    "disgust": Course((0.20, 0.50), (0.4, 1.0), (0.3, 0.7)),
    "fear": Course((0.08, 0.22), (1.2, 2.4), (0.6, 1.0), tremor=0.22),
    "happiness": Course((0.30, 0.80), (0.6, 1.5), (0.4, 1.0)),
    "sadness": Course((0.70, 1.30), (0.8, 2.0), (0.7, 1.2)),
    "surprise": Course((0.08, 0.22), (0.20, 0.50), (0.25, 0.55)),
}
_DISTRACTORS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12L", "AU12R", "AU15", "AU17", "AU20")


@dataclass(frozen=True)
class Script:
    """One clip, frame by frame; T frames, A action units."""

    units: Floats  # [T, A] in [0, 1]
    asymmetry: Floats  # [A]
    gaze: Floats  # [T, 2] face units
    poses: list[Pose]
    occlusion: Floats  # [T]: 0 out of the image, 1 in place


def write_script(
    label: str, subject: Subject, rng: np.random.Generator, *, frame_px: int, fps: float
) -> Script:
    """Draws a clip of one of `CLASSES`."""
    duration = float(rng.uniform(*DURATION_S))
    time = np.arange(max(2, round(duration * fps))) / fps
    units = _expression(label, time, rng) * subject.expressiveness
    if label == "neutral" and rng.random() < 0.6:
        units = np.maximum(units, _speech(time, rng, float(rng.uniform(0.6, 1.0))))
    elif rng.random() < 0.35:
        units = np.maximum(units, _speech(time, rng, float(rng.uniform(0.3, 0.7))))
    units = np.maximum(units, _distractors(label, time, rng))
    units += subject.resting * (1.0 - np.clip(units, 0.0, 1.0))
    units += rng.uniform(0.01, 0.05) * _wander(time, len(ACTION_UNITS), 0.25, rng)
    units[:, AU["AU43"]] = np.minimum(units[:, AU["AU43"]], 0.6)
    units[:, AU["AU45"]] = _blinks(label, time, rng)
    gaze = 0.010 * _wander(time, 2, 0.3, rng) + rng.normal(0.0, 0.012, 2)
    return Script(
        units=np.clip(units, 0.0, 1.0),
        asymmetry=rng.normal(0.0, 0.10, len(ACTION_UNITS)).clip(-0.25, 0.25),
        gaze=np.clip(gaze, -0.04, 0.04),
        poses=_poses(label, time, rng, frame_px),
        occlusion=_occlusion(time, rng),
    )


def _expression(label: str, time: Floats, rng: np.random.Generator) -> Floats:
    units = np.zeros((len(time), len(ACTION_UNITS)))
    if label == "neutral":
        return units
    side = str(rng.choice(("L", "R")))
    strength = float(rng.uniform(0.55, 1.0))
    course = _COURSES[label]
    onset, apex, offset = (
        float(rng.uniform(*span)) for span in (course.onset, course.apex, course.offset)
    )
    start = _start(time[-1], onset, rng)
    tremor = 1.0 + course.tremor * strength * np.sin(
        2 * np.pi * rng.uniform(4.0, 6.5) * time + rng.uniform(0.0, 6.3)
    )
    apex_units = draw_variant(label, side, rng)
    for column in np.flatnonzero(apex_units):
        begin = start + float(rng.normal(0.0, 0.04))
        rise = smoothstep(0.0, onset, time - begin)
        fall = 1.0 - smoothstep(0.0, offset, time - begin - onset - apex)
        gain = strength * apex_units[column] * float(rng.uniform(0.75, 1.1))
        units[:, column] = gain * rise * fall * tremor
    return units


def _start(length: float, onset: float, rng: np.random.Generator) -> float:
    """When the onset begins; below zero, the clip opens in the middle of the expression."""
    kind = rng.random()
    if kind < 0.15:
        return -onset * float(rng.uniform(0.3, 1.0))
    if kind < 0.35:
        return length * float(rng.uniform(0.35, 0.55))
    return length * float(rng.uniform(0.02, 0.25))


def _speech(time: Floats, rng: np.random.Generator, strength: float) -> Floats:
    """Syllables at 3 to 5 a second: the jaw and the lips move, the brows hardly do."""
    units = np.zeros((len(time), len(ACTION_UNITS)))
    rate = rng.uniform(3.0, 5.0)
    phase = 2 * np.pi * (rate * time + 0.25 * _wander(time, 1, 0.25, rng)[:, 0])
    loudness = np.clip(0.65 + 0.5 * _wander(time, 1, 0.3, rng)[:, 0], 0.0, 1.0) * strength
    beat = 0.5 - 0.5 * np.cos(phase)
    units[:, AU["AU26"]] = 0.50 * loudness * beat
    units[:, AU["AU25"]] = 0.60 * loudness * np.sqrt(beat)
    shapes = np.clip(_wander(time, 4, 0.12, rng), 0.0, 1.2)
    for column, name in enumerate(("AU20", "AU10", "AU17", "AU16")):
        units[:, AU[name]] = 0.30 * loudness * shapes[:, column]
    return units


def _distractors(label: str, time: Floats, rng: np.random.Generator) -> Floats:
    """Short weak movements that belong to no class."""
    units = np.zeros((len(time), len(ACTION_UNITS)))
    for _ in range(int(rng.integers(0, 4 if label == "neutral" else 3))):
        name = str(rng.choice(_DISTRACTORS))
        middle, width = rng.uniform(0.0, time[-1]), rng.uniform(0.10, 0.40)
        peak = rng.uniform(0.15, 0.45)
        units[:, AU[name]] = peak * np.exp(-(((time - middle) / width) ** 2))
    return units


def _blinks(label: str, time: Floats, rng: np.random.Generator) -> Floats:
    closed = np.zeros(len(time))
    rate = {"fear": 0.15, "surprise": 0.25, "sadness": 0.6}.get(label, 0.4)  # a second
    for _ in range(int(rng.poisson(rate * time[-1]))):
        middle = rng.uniform(0.0, time[-1])
        closed = np.maximum(closed, np.exp(-(((time - middle) / 0.07) ** 4)))
    return closed


def _wander(time: Floats, columns: int, seconds: float, rng: np.random.Generator) -> Floats:
    """Smooth noise [T, columns] of about unit deviation, correlated over `seconds`."""
    knots = np.arange(time[0] - 2 * seconds, time[-1] + 3 * seconds, seconds)
    values = rng.normal(0.0, 1.2, (len(knots), columns))
    return np.stack([np.interp(time, knots, values[:, c]) for c in range(columns)], axis=1)


def _poses(label: str, time: Floats, rng: np.random.Generator, frame_px: int) -> list[Pose]:
    limits = np.array([MAX_YAW, MAX_PITCH, MAX_ROLL])
    base = rng.normal(0.0, 0.38, 3) * limits
    drift = _smooth(_wander(time, 3, 0.5, rng)) * limits * rng.uniform(0.04, 0.22)
    angles = base + drift
    if rng.random() < 0.3:
        nod = np.sin(2 * np.pi * rng.uniform(1.2, 2.4) * time) * rng.uniform(0.02, 0.06)
        angles[:, int(rng.integers(2))] += nod
    if label == "fear":
        angles += rng.normal(0.0, 0.006, angles.shape)
    angles = np.clip(angles, -limits, limits)
    share = rng.uniform(0.48, 0.82)
    zoom = 1.0 + 0.04 * rng.uniform(-1, 1) * time / time[-1]
    scale = share * frame_px / FACE_HEIGHT * zoom
    room = (1.0 - share) * 0.40 * frame_px
    center = frame_px * np.array([0.5, 0.49]) + rng.uniform(-1, 1, 2) * room
    center = center + _smooth(_wander(time, 2, 0.5, rng)) * 0.012 * frame_px
    return [
        Pose(float(yaw), float(pitch), float(roll), (float(x), float(y)), float(size))
        for (yaw, pitch, roll), (x, y), size in zip(angles, center, scale, strict=True)
    ]


def _smooth(values: Floats) -> Floats:
    """Rounds the corners of linear interpolation."""
    kernel = np.hanning(9)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(values, ((3, 3), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, c], kernel, mode="valid") for c in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _occlusion(time: Floats, rng: np.random.Generator) -> Floats:
    if rng.random() >= 0.18:
        return np.zeros(len(time))
    length = time[-1]
    start = rng.uniform(-0.2, 0.7) * length
    end = start + rng.uniform(0.25, 0.6) * length
    return smoothstep(start, start + 0.25, time) * (1.0 - smoothstep(end, end + 0.25, time))
