"""From a folder of images to sampled frames: what `decode_clip` does for videos."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.video.frames import SampledFrame, encode_jpeg, shrink
from arpgnet.pipeline.video.image_folder import decode_image, is_jpeg, read_folder
from arpgnet.pipeline.video.sampling import choose, inside

DECODER = "images"
# a folder of which less than this can be read is not the clip that was labeled
_LEAST_PART = 0.5
_POINTS = 68


def sample_images(
    folder: Path, clip: Clip, landmarks: Path | None, params: DecodeParams
) -> Iterator[SampledFrame]:
    """Yield the images that `params` choose, in order; a JPEG's bytes are not changed.

    An image that cannot be read, or ends early, is passed over.

    Args:
        folder: of the images.
        clip: its `fps`, `first_image`, `start_s` and `end_s`.
        landmarks: folder of `<stem>_landmarks.txt`, 68 lines of x and y an image; an image
            without such a file has no points.

    Raises:
        ClipError: no image, less than half of the chosen ones can be read, none in the window,
            or landmarks are malformed.
        OSError: the folder is gone.
    """
    images = read_folder(folder, clip.first_image)
    times = images.index / (clip.fps or 1.0)
    start, end = clip.start_s or 0.0, math.inf if clip.end_s is None else clip.end_s
    shown = inside(times, start, end)
    if not len(shown):
        raise ClipError(f"no image between {start:g} s and {end:g} s")
    chosen = shown[choose(times[shown], params)]
    lost = 0
    for row in chosen.tolist():
        path = folder / images.names[row]
        data = path.read_bytes()
        image = decode_image(data)
        if image is None:
            lost += 1
            if lost > (1 - _LEAST_PART) * len(chosen):
                raise ClipError(f"{lost} of {len(chosen)} images cannot be read")
            continue
        points = _points(landmarks / f"{path.stem}_landmarks.txt") if landmarks else None
        small = shrink(image, params.max_side)
        if points is not None and small is not image:
            # centers of pixels lie at whole numbers
            scale = np.array(small.shape[1::-1]) / image.shape[1::-1]
            points = (points + 0.5) * scale - 0.5
        yield SampledFrame(
            index=int(images.index[row]),
            time_s=float(times[row]),
            width=small.shape[1],
            height=small.shape[0],
            jpeg=data if small is image and is_jpeg(data) else _jpeg(small, params.jpeg_quality),
            decoder=DECODER,
            points=None if points is None else points.ravel().tolist(),
        )


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    try:
        return encode_jpeg(image, quality)
    except ValueError as error:
        raise ClipError(str(error)) from None


def _points(path: Path) -> np.ndarray | None:
    """Return 68 points [68, 2] in pixels, float64; None where there is no file."""
    try:
        numbers = [float(word) for word in path.read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return None
    except ValueError:
        numbers = [math.nan]
    if not np.isfinite(numbers).all():
        raise ClipError(f"landmarks {path.name}: not a number")
    if len(numbers) != 2 * _POINTS:
        raise ClipError(f"landmarks {path.name}: {len(numbers)} numbers, {2 * _POINTS} expected")
    return np.array(numbers).reshape(_POINTS, 2)
