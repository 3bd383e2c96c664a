"""Draws one frame: lights the textures, warps them into the image, adds features and camera."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from arpgnet.pipeline.demo import canvas
from arpgnet.pipeline.demo.action_units import unit
from arpgnet.pipeline.demo.arrays import Floats, Image, Scalar
from arpgnet.pipeline.demo.features import draw_eyes, draw_mouth
from arpgnet.pipeline.demo.glasses import draw_glasses
from arpgnet.pipeline.demo.rig import DOMAIN_X, DOMAIN_Y, GRID_STEP, PIVOT, Expression, Pose, Shape
from arpgnet.pipeline.demo.scene import BODY_X, BODY_Y, SPRITE_PPU, Scene
from arpgnet.pipeline.demo.skin import LEVELS, Head

MAP_STEP = 4  # px between nodes of the inverse map
_ORIGIN: Scalar = (DOMAIN_X[0], DOMAIN_Y[0], 0.0, 0.0)
_INVERSIONS = 7  # fixed-point steps; the error shrinks by about 0.4 each


def paint_frame(
    head: Head,
    scene: Scene,
    pose: Pose,
    expression: Expression,
    *,
    occluder_shift: tuple[float, float] | None,
    grain_offset: tuple[int, int],
) -> tuple[Image, Shape]:
    """Renders RGB [H, W, 3] and returns the moved face beside it.

    Args:
        occluder_shift: where the scene's occluder has moved, face units; None leaves it out.
        grain_offset: (row, column) in [0, 64) of this frame's sensor noise.
    """
    shape = head.rig.move(expression)
    frame = scene.background.copy()
    _draw_body(frame, scene, pose)
    light = _light(head, scene, pose, expression)
    _draw_head(frame, head, pose, shape, light)
    draw_eyes(frame, head.subject, pose, shape, light[0])
    draw_mouth(frame, head.subject, pose, shape, light[0])
    draw_glasses(frame, head.subject, pose)
    if scene.occluder is not None and occluder_shift is not None:
        _draw_occluder(frame, scene, pose, occluder_shift)
    return _camera(frame, scene, grain_offset), shape


def _light(head: Head, scene: Scene, pose: Pose, expression: Expression) -> tuple[Floats, Floats]:
    """Shade [h, w, 3] that multiplies the colors, and highlight [h, w], at RELIEF_PPU."""
    slope_x, slope_y = head.slope_x.copy(), head.slope_y.copy()
    dark = np.zeros_like(slope_x)
    names = {name for fold in head.folds for name in fold.units}
    shown_left, shown_right = (
        {name: unit(half, name) for name in names}
        for half in (expression.image_left, expression.image_right)
    )
    for fold in head.folds:
        left = max(shown_left[name] for name in fold.units)
        right = max(shown_right[name] for name in fold.units)
        strength = (left + right) / 2 if fold.side is None else (left, right)[fold.side]
        if strength > 0.03:
            slope_x[fold.box] += strength * fold.slope_x
            slope_y[fold.box] += strength * fold.slope_y
            dark[fold.box] += strength * fold.dark
    # what the head does not cover stays black
    shade, shine = np.zeros((*dark.shape, 3), np.float32), np.zeros_like(dark)
    slope_x, slope_y, dark = (
        np.ascontiguousarray(part[head.relief]) for part in (slope_x, slope_y, dark)
    )
    rotation = pose.rotation
    lamp = (rotation.T @ scene.light).astype(np.float32)
    half_way = scene.light + np.array([0.0, 0.0, 1.0])
    half_way = (rotation.T @ (half_way / np.linalg.norm(half_way))).astype(np.float32)
    length = 1.0 / cv2.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) * length
    # light bleeds through skin beyond the terminator
    diffuse = np.clip((facing + 0.22) * (1.0 / 1.22), 0.0, 1.0)
    mirror = (half_way[2] - slope_x * half_way[0] - slope_y * half_way[1]) * length
    mirror = np.clip(mirror, 0.0, 1.0)
    for _ in range(4):
        mirror *= mirror
    lit = diffuse * head.sunlit
    keep = 1.0 - np.clip(dark, 0.0, 0.75)
    planes = [
        cv2.sqrt(head.ambient * np.float32(ambient) + lit * np.float32(key)) * keep
        for ambient, key in zip(scene.ambient, scene.key, strict=True)
    ]
    shade[head.relief] = cv2.merge(planes)
    shine[head.relief] = mirror * head.gloss * np.float32(40.0 * scene.key.mean()) * keep
    return shade, shine


def _draw_head(
    frame: Image, head: Head, pose: Pose, shape: Shape, light: tuple[Floats, Floats]
) -> None:
    nodes = pose.project(shape.grid).astype(np.float32)
    box = _clip_box(frame, nodes)
    seen = _clip_box(frame, nodes[head.nodes])
    if box is None or seen is None:
        return
    left, top, right, bottom = box = _shrunk(box, seen)
    level = max(k for k, ppu in enumerate(LEVELS) if k == 0 or ppu >= 0.95 * pose.scale)
    ppu, texture = LEVELS[level], head.textures[level]
    size = canvas.size(ppu)[::-1]
    shade = cv2.resize(light[0], size, interpolation=cv2.INTER_LINEAR)[texture.box]
    shine = cv2.resize(light[1], size, interpolation=cv2.INTER_LINEAR)[texture.box]
    lit = cv2.add(
        cv2.multiply(texture.color, shade),
        cv2.cvtColor(shine, cv2.COLOR_GRAY2RGB),
        dtype=cv2.CV_8U,
    )
    texels: Floats = cv2.subtract(_invert(nodes, pose, box), _ORIGIN)
    texels *= np.float32(ppu)
    texels -= np.float32(0.5)
    rows, columns = texture.box
    corner: Scalar = (columns.start, rows.start, 0.0, 0.0)
    texels = cv2.subtract(texels, corner)
    # OpenCV samples pixels of four bytes twice as fast as those of three
    skin = _sample(cv2.cvtColor(lit, cv2.COLOR_RGB2RGBA), texels)
    cover = _sample(texture.coverage, texels)
    _mix(frame[top:bottom, left:right], cv2.cvtColor(skin, cv2.COLOR_RGBA2RGB), cover)


def _clip_box(frame: Image, points: Floats) -> tuple[int, int, int, int] | None:
    """The part of the frame that holds points [rows, columns, 2]: left, top, right, bottom."""
    (low_x, high_x, *_), (low_y, high_y, *_) = (cv2.minMaxLoc(axis) for axis in cv2.split(points))
    left, top = max(0, math.floor(low_x)), max(0, math.floor(low_y))
    right = min(frame.shape[1], math.ceil(high_x) + 1)
    bottom = min(frame.shape[0], math.ceil(high_y) + 1)
    return None if right - left < 2 or bottom - top < 2 else (left, top, right, bottom)


def _shrunk(
    box: tuple[int, int, int, int], seen: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """The box around what is seen whose nodes of the inverse map are those of the wider box."""
    left, top, right, bottom = seen
    return left - (left - box[0]) % MAP_STEP, top - (top - box[1]) % MAP_STEP, right, bottom


def _invert(nodes: Floats, pose: Pose, box: tuple[int, int, int, int]) -> Floats:
    """Canonical x and y [h, w, 2] of every pixel of a box, given the pixels of the grid's nodes.

    Solves nodes(u) = pixel by the iteration u += J^-1 (pixel - nodes(u)) with the constant Jacobian
    of the head's plane, on a coarse lattice that is interpolated to the pixels.
    """
    left, top, right, bottom = box
    across, down = -(-(right - left) // MAP_STEP) + 1, -(-(bottom - top) // MAP_STEP) + 1
    # cv2.resize puts node k at pixel (k + 0.5) * MAP_STEP - 0.5
    x = left + (np.arange(across, dtype=np.float32) + 0.5) * MAP_STEP - 0.5
    y = top + (np.arange(down, dtype=np.float32) + 0.5) * MAP_STEP - 0.5
    pixels = np.stack(np.meshgrid(x, y), axis=-1)
    rotation = pose.rotation
    inverse = (np.linalg.inv(rotation[:2, :2]) / pose.scale).astype(np.float32)
    flat = pixels - np.array(pose.center, np.float32) - pose.scale * rotation[:2, 2] * 0.45
    u = (flat @ inverse.T + PIVOT[:2]).astype(np.float32)
    for _ in range(_INVERSIONS):
        places: Floats = cv2.subtract(u, _ORIGIN)
        places /= np.float32(GRID_STEP)
        here = _sample(nodes, places, cv2.BORDER_REPLICATE)
        u += (pixels - here) @ inverse.T
    full = cv2.resize(u, (across * MAP_STEP, down * MAP_STEP), interpolation=cv2.INTER_LINEAR)
    return full[: bottom - top, : right - left]


def _sample(image: Floats, places: Floats, border: int = cv2.BORDER_CONSTANT) -> Floats:
    """An image's values, interpolated, at places [h, w, 2]."""
    second_map: Any = None
    return cv2.remap(image, places, second_map, cv2.INTER_LINEAR, borderMode=border)


def _blend(under: Image, over: Image, opacity: float = 1.0) -> None:
    """Lays RGBA over RGB in place."""
    alpha = cv2.extractChannel(over, 3)
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        return
    box = slice(top, top + height), slice(left, left + width)
    cover = alpha[box].astype(np.float32) * np.float32(opacity / 255.0)
    _mix(under[box], cv2.cvtColor(over[box], cv2.COLOR_RGBA2RGB), cover)


def _mix(under: Image, over: Image, cover: Floats) -> None:
    under[:] = cv2.blendLinear(over, under, cover, np.float32(1.0) - cover)


def _draw_body(frame: Image, scene: Scene, pose: Pose) -> None:
    size = frame.shape[1], frame.shape[0]
    ppu = scene.body.shape[1] / (BODY_X[1] - BODY_X[0])
    matrix = _placement((BODY_X[0], BODY_Y[0]), ppu, pose, (0.0, 0.0), 0.3 * pose.roll)
    top = max(0, int(pose.center[1] - 1.9 * pose.scale))
    matrix[1, 2] -= top
    if top >= size[1]:
        return
    # the last row goes on below, the sides and the top are transparent
    drawn = cv2.warpAffine(
        scene.body,
        matrix,
        (size[0], size[1] - top),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    _blend(frame[top:], drawn)


def _draw_occluder(frame: Image, scene: Scene, pose: Pose, shift: tuple[float, float]) -> None:
    occluder = scene.occluder
    if occluder is None:
        return
    h, w = occluder.sprite.shape[:2]
    corner = (-w / 2 / SPRITE_PPU, -h / 2 / SPRITE_PPU)
    place = occluder.place[0] + shift[0], occluder.place[1] + shift[1]
    plane = np.array([*place, 0.2])
    center = pose.project(plane)
    matrix = _placement(corner, SPRITE_PPU, pose, (0.0, 0.0), pose.roll + occluder.angle)
    matrix[:, 2] += (
        center - pose.project(PIVOT) + _turn(pose.roll + occluder.angle) @ PIVOT[:2] * pose.scale
    )
    drawn = cv2.warpAffine(occluder.sprite, matrix, frame.shape[1::-1], flags=cv2.INTER_LINEAR)
    if occluder.kind != "shadow":
        drawn[..., :3] = cv2.convertScaleAbs(
            drawn[..., :3], alpha=float(np.sqrt(scene.ambient.mean() + 0.7 * scene.key.mean()))
        )
    _blend(frame, drawn, occluder.opacity)


def _turn(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def _placement(
    origin: tuple[float, float], ppu: float, pose: Pose, shift: tuple[float, float], angle: float
) -> Floats:
    """Affine [2, 3] from a sprite's texels to pixels, for a sprite in the plane of the pivot."""
    turn = _turn(angle) * pose.scale
    offset = turn @ (np.array(origin) + shift - PIVOT[:2] + 0.5 / ppu) + pose.center
    return np.concatenate([turn / ppu, offset[:, None]], axis=1)


def _camera(frame: Image, scene: Scene, grain_offset: tuple[int, int]) -> Image:
    if scene.blur > 0.15:
        frame = cv2.GaussianBlur(frame, (0, 0), scene.blur)
    frame = cv2.LUT(frame, scene.tone)
    row, column = grain_offset
    h, w = frame.shape[:2]
    more, less = (bank[row : row + h, column : column + w] for bank in scene.grain)
    return cv2.subtract(cv2.add(frame, more), less)
