"""A rendered frame with its truth, and stills for training a face pack."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arpgnet.pipeline.demo import landmarks as lm
from arpgnet.pipeline.demo.action_units import ACTION_UNITS
from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.paint import paint_frame
from arpgnet.pipeline.demo.prototypes import CLASSES, draw_variant
from arpgnet.pipeline.demo.rig import Expression, Pose, Rig
from arpgnet.pipeline.demo.scene import Scene, draw_scene
from arpgnet.pipeline.demo.skin import Head, bake_head

MAX_YAW, MAX_PITCH, MAX_ROLL = np.deg2rad((20.0, 12.0, 12.0))
FACE_HEIGHT = 2.45  # of the detectors' box, face units: from the upper forehead to the chin


@dataclass(frozen=True)
class RenderedFrame:
    """One image and what is true about it; pixel centers lie at whole numbers.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [106, 2] px, in the order of `pipeline.demo.landmarks`.
        keypoints: float32 [5, 2] px: eyes, nose tip, mouth corners, image-left first.
        bbox: float32 [4] px, x0 y0 x1 y1: forehead to chin, cheek to cheek, as detectors draw it.
        action_units: float32 [A] in [0, 1], in the order of `ACTION_UNITS`.
        head_pose: float32 [3], yaw, pitch and roll in degrees, as `pipeline.geometry.pose` has
            them: turned to the image's right, up, clockwise.
    """

    image: Image
    landmarks: Floats
    keypoints: Floats
    bbox: Floats
    action_units: Floats
    head_pose: Floats


def render(
    head: Head,
    scene: Scene,
    pose: Pose,
    expression: Expression,
    units: Floats,
    *,
    occluder_shift: tuple[float, float] | None,
    grain_offset: tuple[int, int],
) -> RenderedFrame:
    """Paints one frame and measures it; see `paint_frame` for the arguments."""
    image, shape = paint_frame(
        head, scene, pose, expression, occluder_shift=occluder_shift, grain_offset=grain_offset
    )
    points = pose.project(shape.landmarks)
    return RenderedFrame(
        image=image,
        landmarks=points.astype(np.float32),
        keypoints=_keypoints(points),
        bbox=_bbox(head.rig, pose, points),
        action_units=np.clip(units, 0.0, 1.0).astype(np.float32),
        head_pose=np.degrees([pose.yaw, -pose.pitch, pose.roll]).astype(np.float32),
    )


def _keypoints(points: Floats) -> Floats:
    corners = points[[lm.LIP_OUTER_UPPER[0], lm.LIP_OUTER_UPPER[-1]]]
    eyes = points[list(lm.EYE_CENTER)]
    return np.concatenate([eyes, points[[lm.NOSE_BRIDGE[-1]]], corners]).astype(np.float32)


def _bbox(rig: Rig, pose: Pose, points: Floats) -> Floats:
    outline = np.concatenate([points[list(lm.CONTOUR)], pose.project(rig.forehead)])
    return np.concatenate([outline.min(0), outline.max(0)]).astype(np.float32)


def render_still(seed: int, subject_seed: int, *, frame_px: int = 256) -> RenderedFrame:
    """One random image of a subject: any expression, pose, light, scale and occlusion.

    Args:
        seed: of everything but the subject; equal arguments give equal bytes.
        frame_px: side of the square image. The face takes 15 % to 90 % of it.
    """
    rng = np.random.default_rng([seed, subject_seed, 4])
    head = bake_head(subject_seed)
    units = _random_units(rng)
    share = float(rng.uniform(0.15, 0.90)) if rng.random() < 0.5 else float(rng.uniform(0.4, 0.85))
    scale = share * frame_px / FACE_HEIGHT
    # the whole box stays in the image for most faces
    room = max(0.0, 0.5 * (1.0 - share) + 0.02) * frame_px
    center = (
        float(frame_px / 2 + rng.uniform(-1, 1) * min(room, 0.36 * frame_px)),
        float(frame_px / 2 + rng.uniform(-1, 1) * room * 0.9 + 0.02 * scale),
    )
    pose = Pose(
        yaw=float(rng.triangular(-MAX_YAW, 0.0, MAX_YAW)),
        pitch=float(rng.triangular(-MAX_PITCH, 0.0, MAX_PITCH)),
        roll=float(rng.triangular(-MAX_ROLL, 0.0, MAX_ROLL)),
        center=center,
        scale=scale,
    )
    occluded = bool(rng.random() < 0.22)
    scene = draw_scene(head.subject, rng, frame_px, occluded)
    asymmetry = rng.normal(0.0, 0.12, len(units)).clip(-0.3, 0.3)
    gaze = float(rng.normal(0.0, 0.012)), float(rng.normal(0.0, 0.012))
    expression = Expression.from_units(units, asymmetry, gaze)
    frame = render(
        head,
        scene,
        pose,
        expression,
        units,
        occluder_shift=(0.0, 0.0) if occluded else None,
        grain_offset=(int(rng.integers(64)), int(rng.integers(64))),
    )
    return RenderedFrame(
        image=_jpeg(frame.image, int(rng.integers(45, 98))),
        landmarks=frame.landmarks,
        keypoints=frame.keypoints,
        bbox=frame.bbox,
        action_units=frame.action_units,
        head_pose=frame.head_pose,
    )


def _jpeg(image: Image, quality: int) -> Image:
    _, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB))


def _random_units(rng: np.random.Generator) -> Floats:
    """A prototype at some strength, single units, or both."""
    values = np.zeros(len(ACTION_UNITS))
    if rng.random() < 0.75:
        label = CLASSES[int(rng.integers(len(CLASSES)))]
        values += draw_variant(label, str(rng.choice(("L", "R"))), rng) * rng.uniform(0.3, 1.0)
    if rng.random() < 0.6:
        count = int(rng.integers(1, 5))
        chosen = rng.choice(len(ACTION_UNITS), count, replace=False)
        values[chosen] = np.maximum(values[chosen], rng.uniform(0.2, 1.0, count))
    return np.clip(values * rng.uniform(0.8, 1.2, len(values)), 0.0, 1.0)
