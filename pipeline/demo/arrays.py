"""Array types of the renderer; OpenCV's stubs do not carry element types through."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 or float64
Image = NDArray[Any]  # uint8
Scalar = Any  # four numbers, one for each channel of an image
