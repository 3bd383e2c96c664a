"""A small box of the frame, enlarged so that fine lines can be drawn in it."""

from __future__ import annotations

import cv2
import numpy as np

from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.canvas import SHIFT

Ink = tuple[float, ...]  # RGB in [0, 255]


class Patch:
    """Draws at `zoom` times the frame's resolution; `close` writes the result back.

    All points and lengths are the frame's pixels. Masks are uint8 [h, w] in the enlarged box.
    Attribute `visible` is false when the box lies outside the frame: then nothing else is set.
    """

    def __init__(self, frame: Image, points: Floats, margin: float, zoom: int = 2) -> None:
        low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
        high = np.minimum(np.ceil(points.max(0) + margin) + 1, frame.shape[1::-1]).astype(int)
        self.visible = bool((high - low >= 3).all())
        if not self.visible:
            return
        self._zoom = zoom
        self._target = frame[low[1] : high[1], low[0] : high[0]]
        # from the frame's pixels to OpenCV's fixed-point ones
        self._scale = zoom * (1 << SHIFT)
        self._origin = ((low - 0.5) * zoom + 0.5) * (1 << SHIFT)
        size = tuple((high - low) * zoom)
        self._image = cv2.resize(self._target, size, interpolation=cv2.INTER_LINEAR)

    def blank(self) -> Image:
        """An empty mask."""
        return np.zeros(self._image.shape[:2], np.uint8)

    def filled(self, color: Ink) -> Image:
        """An image of one color."""
        layer = np.empty_like(self._image)
        # three times as fast as numpy's broadcast over three channels
        cv2.rectangle(layer, (0, 0), layer.shape[1::-1], color, -1)
        return layer

    def polygon(self, mask: Image, points: Floats, level: float) -> None:
        """Fills an outline in a mask with `level` in [0, 1]."""
        cv2.fillPoly(mask, [self._at(points)], 255.0 * level, cv2.LINE_AA, SHIFT)

    def line(self, mask: Image, points: Floats, width: float, level: float) -> None:
        """Draws a polyline in a mask; one thinner than a dot becomes fainter."""
        thick, level = self._thickness(width, level)
        cv2.polylines(mask, [self._at(points)], False, 255.0 * level, thick, cv2.LINE_AA, SHIFT)

    def spot(self, mask: Image, center: Floats, radius: float, level: float) -> None:
        """Draws a disk in a mask."""
        self.disc(mask, center, radius, (255.0 * level,))

    def disc(self, layer: Image, center: Floats, radius: float, color: Ink) -> None:
        """Draws a disk in an image."""
        x, y = (int(v) for v in self._at(center))
        reach = max(1, round(radius * self._zoom * (1 << SHIFT)))
        cv2.circle(layer, (x, y), reach, color, -1, cv2.LINE_AA, SHIFT)

    def paint(self, layer: Image, points: Floats, color: Ink) -> None:
        """Fills an outline in an image."""
        cv2.fillPoly(layer, [self._at(points)], color, cv2.LINE_AA, SHIFT)

    def scratch(self, layer: Image, lines: Floats, color: Ink) -> None:
        """Draws hairlines [L, P, 2] in an image."""
        cv2.polylines(layer, list(self._at(lines)), False, color, 1, cv2.LINE_AA, SHIFT)

    def ink(self, points: Floats, width: float, color: Ink) -> None:
        """Draws a polyline; one thinner than a dot is mixed in by its share of the dot."""
        thick, level = self._thickness(width, 1.0)
        if level > 0.98:
            cv2.polylines(self._image, [self._at(points)], False, color, thick, cv2.LINE_AA, SHIFT)
            return
        mask = self.blank()
        self.line(mask, points, width, 1.0)
        self.lay(self.filled(color), mask)

    def shaded(self, layer: Image, dark: Image, blur: float) -> Image:
        """An image darkened by a mask, which is blurred first."""
        light = cv2.cvtColor(cv2.bitwise_not(self._blurred(dark, blur)), cv2.COLOR_GRAY2RGB)
        return cv2.multiply(layer, light, scale=1.0 / 255.0)

    def shade(self, dark: Image, blur: float) -> None:
        """Darkens the patch by a mask, which is blurred first."""
        self._image = self.shaded(self._image, dark, blur)

    def lit(self, layer: Image, light: Image, blur: float) -> Image:
        """An image brightened by a mask, which is blurred first."""
        return cv2.add(layer, cv2.cvtColor(self._blurred(light, blur), cv2.COLOR_GRAY2RGB))

    def lay(self, layer: Image, mask: Image, blur: float = 0.0) -> None:
        """Mixes an image into the patch where the mask covers."""
        cover = self._blurred(mask, blur).astype(np.float32) * np.float32(1.0 / 255.0)
        self._image = cv2.blendLinear(layer, self._image, cover, 1.0 - cover)

    def close(self) -> None:
        """Writes the patch back into the frame."""
        size = self._target.shape[1::-1]
        self._target[:] = cv2.resize(self._image, size, interpolation=cv2.INTER_AREA)

    def _at(self, points: Floats) -> Floats:
        return np.rint(points * self._scale - self._origin).astype(np.int32)

    def _thickness(self, width: float, level: float) -> tuple[int, float]:
        thick = width * self._zoom
        whole = max(1, round(thick))
        return whole, level * min(1.0, thick / whole) if whole == 1 else level

    def _blurred(self, mask: Image, blur: float) -> Image:
        sigma = blur * self._zoom
        if sigma < 0.2:
            return mask
        # GaussianBlur of bytes takes three to five times as long, for at most one level of 255
        kernel = cv2.getGaussianKernel(2 * round(3.0 * sigma) + 1, sigma, cv2.CV_32F)
        return cv2.sepFilter2D(mask, cv2.CV_8U, kernel, kernel)
