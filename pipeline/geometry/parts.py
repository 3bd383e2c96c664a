"""The auxiliary view of a face: its eyes and its mouth, enlarged and put together to one image.

EMAE looks at a face twice (arXiv 2403.13039): at all of it, and at patches of its parts, found
without training. Which patches, of what size, put together how, is not public and ours: square
patches round the eyes, brows included, in the upper half, and one of twice their width round the
mouth in the lower half, all enlarged alike. The key points that the alignment uses say where they
are. A mirrored face has the mirrored view.

T faces, S pixels of a crop's side.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arpgnet.pipeline.geometry.alignment import CROP_PX, apply

# side of an eye's patch and by how much its center lies above the eye, as fractions of the crop: 36
# and 6 of 112 pixels. Eyes are 35 pixels apart: the patches meet between them; brows lie up to 20
# above them
PATCH = 36 / CROP_PX
RAISED = 6 / CROP_PX


def key_points(kps: NDArray[np.float32], matrices: NDArray[np.float32], px: int) -> NDArray:
    """Return the key points in pixels of crops: float32 [T, 5, 2].

    Args:
        kps: [T, 5, 2] in image pixels, as `ARCFACE_TEMPLATE`.
        matrices: [T, 2, 3] of the alignment, image to crop of `CROP_PX` pixels.
        px: side of the crops.
    """
    points = np.stack([apply(*pair) for pair in zip(matrices, kps, strict=True)])
    # centers of pixels are whole numbers
    scaled: NDArray = (points + 0.5) * (px / CROP_PX) - 0.5
    return scaled.astype(np.float32)


def assemble_parts(crops: NDArray[np.uint8], points: NDArray) -> NDArray[np.uint8]:
    """Return the auxiliary view of each crop: uint8 [T, S, S, 3].

    Args:
        crops: uint8 [T, S, S, 3].
        points: of `key_points`; where they lie outside the crop its border is repeated.
    """
    return np.stack([_view(crop, five) for crop, five in zip(crops, points, strict=True)])


def _view(crop: NDArray[np.uint8], points: NDArray) -> NDArray[np.uint8]:
    px = len(crop)
    half, side, up = px // 2, PATCH * px, np.array([0.0, RAISED * px])
    left, right, _, *corners = points.astype(np.float64)
    eyes = [_patch(crop, left - up, side, half, half)]
    eyes.append(_patch(crop, right - up, side, px - half, half))
    mouth = _patch(crop, np.mean(corners, axis=0), 2 * side, px, px - half)
    return np.vstack([np.hstack(eyes), mouth])


def _patch(
    crop: NDArray[np.uint8], center: NDArray, reach: float, width: int, height: int
) -> NDArray[np.uint8]:
    """Return `reach` pixels of the crop round a point as `width` pixels, interpolated."""
    step = reach / width
    start = center - step * (np.array([width, height]) - 1) / 2
    back = np.array([[step, 0.0, start[0]], [0.0, step, start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(
        crop, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, dtype=np.uint8)
