"""Drawing in canonical face space: textures that cover the domain of `rig`."""

from __future__ import annotations

import cv2
import numpy as np

from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.rig import DOMAIN_X, DOMAIN_Y

SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def size(ppu: int) -> tuple[int, int]:
    """(height, width) of a texture with `ppu` pixels per face unit."""
    return round((DOMAIN_Y[1] - DOMAIN_Y[0]) * ppu), round((DOMAIN_X[1] - DOMAIN_X[0]) * ppu)


def coordinates(ppu: int) -> tuple[Floats, Floats]:
    """Canonical x and y of every texel, float32 [h, w] each."""
    h, w = size(ppu)
    x = (np.arange(w, dtype=np.float32) + 0.5) / ppu + DOMAIN_X[0]
    y = (np.arange(h, dtype=np.float32) + 0.5) / ppu + DOMAIN_Y[0]
    return np.broadcast_to(x, (h, w)), np.broadcast_to(y[:, None], (h, w))


def _fixed(points: Floats, ppu: int) -> Floats:
    """Canonical points [P, 2] as OpenCV's fixed-point texels, centers at whole numbers."""
    texels = (np.asarray(points) - (DOMAIN_X[0], DOMAIN_Y[0])) * ppu - 0.5
    return np.rint(texels * (1 << SHIFT)).astype(np.int32)


def polygon(points: Floats, ppu: int, blur: float = 0.0) -> Floats:
    """Coverage in [0, 1], float32 [h, w], of a filled polygon; `blur` in face units."""
    mask = np.zeros(size(ppu), np.uint8)
    corners = _fixed(points, ppu)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SHIFT)
    return soften(mask.astype(np.float32) / 255.0, blur * ppu)


def strokes(lines: list[Floats], ppu: int, width: float, blur: float = 0.0) -> Floats:
    """Coverage in [0, 1] of polylines `width` face units thick."""
    mask = np.zeros(size(ppu), np.uint8)
    corners = [_fixed(line, ppu) for line in lines]
    cv2.polylines(mask, corners, False, 255, max(1, round(width * ppu)), cv2.LINE_AA, SHIFT)
    return soften(mask.astype(np.float32) / 255.0, blur * ppu)


def soften(image: Floats, sigma: float) -> Floats:
    """Gaussian blur; `sigma` in pixels, 0 leaves the image as it is."""
    return image if sigma <= 0 else cv2.GaussianBlur(image, (0, 0), sigma)


def noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Floats:
    """Smooth Gaussian noise of unit deviation, float32 [h, w]; `sigma` in pixels."""
    step = max(1, int(sigma))
    h, w = shape
    coarse = rng.standard_normal((h // step + 3, w // step + 3), dtype=np.float32)
    coarse = soften(coarse, sigma / step)
    full = cv2.resize(coarse, (w + 2 * step, h + 2 * step), interpolation=cv2.INTER_CUBIC)[:h, :w]
    return full / max(float(full.std()), 1e-6)


def mix(under: Floats, over: Floats | tuple[float, ...], alpha: Floats) -> Floats:
    """Lays a color or image over another: [h, w, 3] with alpha [h, w]."""
    color = np.asarray(over, np.float32)
    return under + alpha[..., None] * (color - under)
