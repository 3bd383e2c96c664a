"""Eyes and mouth: crisp shapes drawn over the warped skin at twice the frame's resolution."""

from __future__ import annotations

import numpy as np

from arpgnet.pipeline.demo.anatomy import SIDES
from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.patch import Ink, Patch
from arpgnet.pipeline.demo.rig import DOMAIN_X, DOMAIN_Y, Eye, Mouth, Pose, Shape
from arpgnet.pipeline.demo.subject import Subject
from arpgnet.pipeline.demo.wrinkles import RELIEF_PPU


def _light_at(shade: Floats, points: Floats) -> Floats:
    """Mean light RGB [3] at canonical points [P, 2]."""
    x = np.clip((points[:, 0] - DOMAIN_X[0]) * RELIEF_PPU, 0, shade.shape[1] - 1).astype(int)
    y = np.clip((points[:, 1] - DOMAIN_Y[0]) * RELIEF_PPU, 0, shade.shape[0] - 1).astype(int)
    return np.clip(shade[y, x].mean(0), 0.15, 1.3)


def _lit(color: Ink, light: Floats | float) -> Ink:
    """A color under a light, at most white."""
    red, green, blue = np.minimum(np.asarray(color) * light, 255.0).tolist()
    return red, green, blue


def draw_eyes(frame: Image, subject: Subject, pose: Pose, shape: Shape, shade: Floats) -> None:
    """Eyeballs, lids, lashes and lid creases."""
    for eye, side in zip(shape.eyes, SIDES, strict=True):
        _draw_eye(frame, subject, pose, eye, side, shade)


def _draw_eye(
    frame: Image, subject: Subject, pose: Pose, eye: Eye, side: float, shade: Floats
) -> None:
    s, face = pose.scale, subject.anatomy
    upper, lower, crease = pose.project(np.stack([eye.upper, eye.lower, eye.crease]))
    patch = Patch(frame, np.concatenate([upper, lower, crease]), 0.08 * s + 2.0)
    if not patch.visible:
        return
    spots = np.array([[side * (face.eye_x + d), 0.16] for d in (-0.1, 0.0, 0.1)])
    light = _light_at(shade, spots)
    dark = patch.blank()
    patch.line(dark, crease[1:-1], 0.030 * s, 0.45)
    patch.line(dark, lower, 0.030 * s, 0.30 + 0.25 * subject.makeup)
    if subject.makeup > 0.4:
        patch.polygon(dark, np.concatenate([crease, upper[::-1]]), 0.30 * subject.makeup)
    patch.shade(dark, 0.014 * s)
    if eye.closed < 0.97:
        opening = patch.blank()
        patch.polygon(opening, np.concatenate([upper, lower[::-1]]), 1.0)
        patch.lay(_eyeball(patch, subject, pose, eye, upper, light), opening)
    lash = (30.0, 22.0, 20.0)
    heavy = 0.020 + 0.018 * subject.makeup
    patch.ink(upper, heavy * s, lash)
    tail = upper[-1] + (upper[-1] - upper[-3]) * 0.35
    patch.ink(np.stack([upper[-1], tail]), (0.008 + 0.01 * subject.makeup) * s, lash)
    patch.close()


def _eyeball(
    patch: Patch, subject: Subject, pose: Pose, eye: Eye, upper: Floats, light: Floats
) -> Image:
    s = pose.scale
    radius = subject.anatomy.iris_r * s
    iris = pose.project(eye.iris)
    color = _lit(subject.eye_color, light)
    ball = patch.filled(_lit((226.0, 219.0, 214.0), light))
    patch.disc(ball, iris, radius, _lit(color, 0.42))
    patch.disc(ball, iris, radius * 0.84, _lit(color, 1.15))
    patch.disc(ball, iris, radius * 0.44, (14.0, 11.0, 11.0))
    # the upper lid's shadow lies on the eyeball, and its corners turn away from the light
    dark = patch.blank()
    patch.line(dark, upper, 0.055 * s, 0.62)
    for corner in (upper[0], upper[-1]):
        patch.spot(dark, corner, 0.07 * s, 0.40)
    ball = patch.shaded(ball, dark, 0.020 * s)
    glint = iris + np.array([-0.30, -0.36]) * radius
    patch.disc(ball, glint, max(0.45, radius * 0.16), (246.0, 246.0, 246.0))
    return ball


def draw_mouth(frame: Image, subject: Subject, pose: Pose, shape: Shape, shade: Floats) -> None:
    """Lips, and behind them cavity, tongue and teeth."""
    mouth, s, face = shape.mouth, pose.scale, subject.anatomy
    outer_up, inner_up, inner_low, outer_low = pose.project(
        np.stack([mouth.outer_upper, mouth.inner_upper, mouth.inner_lower, mouth.outer_lower])
    )
    patch = Patch(frame, np.concatenate([outer_up, outer_low]), 0.10 * s + 2.0)
    if not patch.visible:
        return
    spots = np.array([[k * face.mouth_w, face.mouth_y - 0.12] for k in (-0.7, 0.0, 0.7)])
    light = _light_at(shade, spots)
    # the hollow under the lower lip
    dark = patch.blank()
    patch.line(dark, (outer_low + (outer_low - inner_low) * 0.25)[6:-6], 0.05 * s, 0.26)
    patch.shade(dark, 0.030 * s)
    lips = patch.filled(_lit(subject.lip_color, light))
    dark = patch.blank()
    patch.polygon(dark, np.concatenate([outer_up, inner_up[::-1]]), 0.22)
    patch.line(dark, inner_up, 0.03 * s, 0.45)
    lips = patch.shaded(lips, dark, 0.012 * s)
    shine = patch.blank()
    patch.line(shine, ((inner_low + outer_low) / 2)[6:-6], 0.035 * s, 0.26)
    lips = patch.lit(lips, shine, 0.022 * s)
    whole = patch.blank()
    patch.polygon(whole, np.concatenate([outer_up, outer_low[::-1]]), 0.95)
    patch.lay(lips, whole, 0.010 * s)
    seam = _lit((56.0, 24.0, 24.0), light)
    if mouth.gap > 0.004:
        hole = patch.blank()
        patch.polygon(hole, np.concatenate([inner_up, inner_low[::-1]]), 1.0)
        patch.lay(_cavity(patch, pose, mouth, inner_up, light, face.mouth_y), hole)
    patch.ink(inner_up, (0.020 if mouth.gap < 0.03 else 0.010) * s, seam)
    patch.close()


def _cavity(
    patch: Patch, pose: Pose, mouth: Mouth, inner_up: Floats, light: Floats, mouth_y: float
) -> Image:
    s = pose.scale
    z = float(mouth.inner_upper[:, 2].max()) - 0.10
    cavity = patch.filled(_lit((44.0, 16.0, 18.0), light))
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    tongue = np.stack([0.22 * np.cos(angle), 0.11 * np.sin(angle), np.zeros(24)], axis=1)
    tongue += (0.0, mouth_y + 0.16 + mouth.jaw, z)
    patch.paint(cavity, pose.project(tongue), _lit((166.0, 80.0, 80.0), light))
    row = np.linspace(-0.31, 0.31, 13)
    arch = mouth_y + 0.012 - 0.035 * (row / 0.31) ** 2
    # the upper teeth stay with the skull, the lower ones go with the jaw and lie in shade
    for top, end, lightness in (
        (arch - 0.17, arch, 1.0),
        (arch + mouth.jaw + 0.035, arch + mouth.jaw + 0.16, 0.84),
    ):
        enamel = _lit((236.0, 230.0, 218.0), light * lightness)
        upper, lower = (
            pose.project(np.stack([row, y, z - 0.9 * row**2], axis=1)) for y in (top, end)
        )
        patch.paint(cavity, np.concatenate([upper, lower[::-1]]), enamel)
        gaps = np.stack([upper, lower], axis=1)[1:-1]
        patch.scratch(cavity, gaps, _lit(enamel, 0.82))
    # the lips shade what lies behind them, most of all at the corners
    dark = patch.blank()
    patch.line(dark, inner_up, 0.05 * s, 0.50)
    for corner in (inner_up[0], inner_up[-1]):
        patch.spot(dark, corner, 0.11 * s, 0.55)
    return patch.shaded(cavity, dark, 0.020 * s)
