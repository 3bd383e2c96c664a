"""Renders scripted clips and the sheet that shows them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from arpgnet.pipeline.demo.arrays import Image
from arpgnet.pipeline.demo.frame import FACE_HEIGHT, RenderedFrame, render
from arpgnet.pipeline.demo.prototypes import CLASSES, prototype
from arpgnet.pipeline.demo.rig import Expression, Pose
from arpgnet.pipeline.demo.scene import GRAIN_ROOM, draw_scene
from arpgnet.pipeline.demo.script import write_script
from arpgnet.pipeline.demo.skin import bake_head

_LEAVE = 2.4  # face units by which an occluder withdraws


def render_clip(
    subject_seed: int, label: str, clip_seed: int, *, frame_px: int, fps: float
) -> list[RenderedFrame]:
    """A clip of 1.2 s to 2.4 s; equal arguments give equal frames.

    Raises:
        ValueError: the label is not in `CLASSES`.
    """
    if label not in CLASSES:
        raise ValueError(f"unknown class {label!r}: one of {', '.join(CLASSES)}")
    rng = np.random.default_rng([clip_seed, subject_seed, CLASSES.index(label), 5])
    head = bake_head(subject_seed)
    script = write_script(label, head.subject, rng, frame_px=frame_px, fps=fps)
    occluded = bool(script.occlusion.any())
    scene = draw_scene(head.subject, rng, frame_px, occluded)
    away = rng.uniform(-1.0, 1.0), rng.uniform(0.6, 1.0)
    frames = []
    for units, gaze, pose, near in zip(
        script.units, script.gaze, script.poses, script.occlusion, strict=True
    ):
        shift = (away[0] * _LEAVE * (1.0 - near), away[1] * _LEAVE * (1.0 - near))
        frames.append(
            render(
                head,
                scene,
                pose,
                Expression.from_units(units, script.asymmetry, (float(gaze[0]), float(gaze[1]))),
                units,
                occluder_shift=shift if near > 0.0 else None,
                grain_offset=(int(rng.integers(GRAIN_ROOM)), int(rng.integers(GRAIN_ROOM))),
            )
        )
    return frames


def contact_sheet(subject_seeds: Sequence[int], *, frame_px: int = 160, seed: int = 0) -> Image:
    """RGB image of each subject (columns) at the apex of each class (rows), with names."""
    bar = round(0.62 * frame_px)
    rows = []
    for label in CLASSES:
        name = np.full((frame_px, bar, 3), 255, np.uint8)
        cv2.putText(
            name,
            label,
            (6, frame_px // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            frame_px / 340,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
        rows.append(np.hstack([name, *(_apex(s, label, frame_px, seed) for s in subject_seeds)]))
    return np.vstack(rows)


def _apex(subject_seed: int, label: str, frame_px: int, seed: int) -> Image:
    rng = np.random.default_rng([seed, subject_seed, 6])
    head = bake_head(subject_seed)
    scene = draw_scene(head.subject, rng, frame_px, False)
    units = prototype(label, str(rng.choice(("L", "R")))) * head.subject.expressiveness
    yaw, pitch, roll = rng.normal(0.0, (0.12, 0.05, 0.05))
    pose = Pose(
        yaw=float(yaw),
        pitch=float(pitch),
        roll=float(roll),
        center=(frame_px / 2, 0.52 * frame_px),
        scale=0.66 * frame_px / FACE_HEIGHT,
    )
    frame = render(
        head,
        scene,
        pose,
        Expression.from_units(np.clip(units, 0.0, 1.0)),
        units,
        occluder_shift=None,
        grain_offset=(0, 0),
    )
    return frame.image
