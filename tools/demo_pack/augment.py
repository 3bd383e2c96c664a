"""What a camera does to a still: light, color, blur, noise, compression, something in the way."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from tools.demo_pack.geometry import Image, resize


def photometric(image: Image, rng: Generator) -> Image:
    """A square `image` `[S, S, 3]` in another light, through another lens and codec."""
    changed: Any = cv2.LUT(image, _tone_curve(rng))
    if rng.random() < 0.1:
        changed = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.35:
        changed = _blur(changed, rng)
    if rng.random() < 0.35:
        noise = rng.standard_normal(image.shape[:2], np.float32) * rng.uniform(2, 10)
        grain = cv2.cvtColor(noise.astype(np.float32), cv2.COLOR_GRAY2RGB)
        changed = cv2.add(changed, grain, dtype=cv2.CV_8U)
    if rng.random() < 0.25:
        quality = int(rng.integers(30, 90))
        _, encoded = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, quality])
        changed = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.asarray(changed, np.uint8)


def occlude(image: Image, rng: Generator, *, probability: float) -> Image:
    """With `probability`, one filled ellipse or rectangle of up to a third of the side."""
    if rng.random() >= probability:
        return image
    image = image.copy()
    side = image.shape[0]
    center = rng.uniform(0.05, 0.95, 2) * side
    radii = rng.uniform(0.05, 0.17, 2) * side
    color = rng.integers(0, 256, 3).tolist()
    if rng.random() < 0.5:
        degrees = float(rng.uniform(0, 180))
        cv2.ellipse(image, (center.tolist(), (radii * 2).tolist(), degrees), color, -1)
    else:
        low, high = (center - radii).astype(int), (center + radii).astype(int)
        cv2.rectangle(image, low.tolist(), high.tolist(), color, -1)
    return image


def _tone_curve(rng: Generator) -> Image:
    """Gain, offset and gamma per channel, as a look-up table `[1, 256, 3]`."""
    level = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.2))
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.06, 3))
    offset = rng.normal(0, 0.06)
    table = np.clip(level**gamma * gain + offset, 0, 1) * 255
    return table.astype(np.uint8)[None]


def _blur(image: Image, rng: Generator) -> Image:
    """Gaussian blur, or the loss of detail of a small face enlarged."""
    side = image.shape[0]
    if rng.random() < 0.5:
        sigma = float(rng.uniform(0.3, 1.5)) * side / 112
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    small = resize(image, int(side * rng.uniform(0.35, 0.9)), interpolation=cv2.INTER_AREA)
    return resize(small, side)
