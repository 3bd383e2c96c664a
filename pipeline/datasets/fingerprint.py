"""Find near-duplicates: clips with the same images in different files.

Corpora contain one performance in several files: with and without sound, in two containers,
compressed twice. Near-duplicates on two sides of a split are a leak that no file digest shows.

A fingerprint is a handful of tiny gray thumbnails. Two clips are near-duplicates when their lengths
agree, the root mean square difference d of their thumbnails (gray levels of 255, each
thumbnail's mean subtracted) is small, and their movements are correlated (r).

Measured over the first 32 frames, every 4th:

    7 pairs of RAVDESS, one performance with and without sound      d <= 0.37, r >= 0.994
    4 clips compressed again (x264 crf 30 and 38, MPEG-4 at half
      width), some with another range of gray levels                d <= 2.0,  r >= 0.965
    336 pairs of different clips of RAVDESS (one actor) and of ASL
      signers                                                       d >= 6.59, r <= 0.752
    2,016 pairs of 64 rendered demo clips of 4 subjects             d >= 27.0, r <= 0.352
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.datasets.groups import connected
from arpgnet.pipeline.video import image_folder as folders

SIDE = 16
# the first 32 frames, every 4th, distinguish performances; more would only cost time
START = (32, 4)
# half a minute, every 8th frame: for clips that hardly move at their start
WHOLE = (900, 8)
LENGTH_TOLERANCE = 2
MAX_DISTANCE = 4.0
MIN_CORRELATION = 0.9
# squared gray levels: below, compression noise moves as much as the image, r is meaningless,
# and the whole clip is compared (the measured clips have 3.0 and more)
STILL = 1.0
MAX_DISTANCE_STILL = 1.0
_BLOCK = 512
# thumbnails of a start that is long enough, and the side of their own thumbnails
_FULL = -(-START[0] // START[1])
_COARSE = 4
_ROUNDING = 0.01


@dataclass(frozen=True)
class ClipStart:
    """What identifies near-duplicates: frame count (None: unknown) and the start's thumbnails."""

    frames: int | None
    start: np.ndarray


def thumbnails(path: Path, extent: tuple[int, int] = START) -> np.ndarray:
    """Decode a clip's start into small gray images.

    Args:
        path: a video.
        extent: frames to decode, and the step between those kept.

    Returns:
        [n, SIDE, SIDE] uint8; n is smaller where the clip ends early or breaks.

    Raises:
        ClipError: the file is no video, or not one frame can be decoded.
    """
    from arpgnet.pipeline.video.container import open_video

    with open_video(path) as (container, stream):
        return frame_thumbnails(container.decode(stream), extent)


def frame_thumbnails(frames: Iterable[Any], extent: tuple[int, int] = START) -> np.ndarray:
    """Compute `thumbnails` of decoded frames."""
    import av
    from av.video.reformatter import VideoReformatter

    limit, step = extent
    images = []
    # set up once per file, without threads of its own: 0.03 ms an image, else up to 2
    converter = VideoReformatter()
    try:
        for index, frame in enumerate(itertools.islice(frames, limit)):
            if index % step == 0:
                small = converter.reformat(
                    frame, width=SIDE, height=SIDE, format="gray", interpolation="AREA", threads=1
                )
                images.append(small.to_ndarray())
    except (av.FFmpegError, OSError):
        # a clip that is damaged later on is handled by the decode stage
        pass
    if not images:
        raise ClipError("no frame can be decoded")
    return np.stack(images)


def image_thumbnails(images: folders.ImageFolder, extent: tuple[int, int] = START) -> np.ndarray:
    """Compute `thumbnails` of a folder of images; unreadable ones are skipped.

    Raises:
        ClipError: none of the first ones can be read.
    """
    import cv2

    limit, step = extent
    found = []
    for name in images.names[:limit:step]:
        image = folders.decode_image((images.folder / name).read_bytes())
        if image is not None:
            gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            found.append(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    if not found:
        raise ClipError("no image can be read")
    return np.stack(found)


def find_near_duplicates(
    clips: Sequence[ClipStart], whole: Callable[[int], np.ndarray]
) -> list[int | None]:
    """Group near-duplicate clips.

    Args:
        clips: fingerprints.
        whole: gives the thumbnails of a clip's `WHOLE` extent by its row; called only for
            clips whose starts are alike and nearly still.

    Returns:
        per clip the row of the first clip of its group, or None when it has no duplicate.
    """
    pairs = [
        (a, b)
        for a, b in _candidates(clips)
        if same_images(clips[a].start, clips[b].start)
        and (
            min(movement(clips[a].start), movement(clips[b].start)) >= STILL
            or same_images(whole(a), whole(b))
        )
    ]
    group = connected(len(clips), pairs)
    grouped = {row for pair in pairs for row in pair}
    return [group[row] if row in grouped else None for row in range(len(clips))]


def same_images(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two stacks of thumbnails [n, SIDE, SIDE] show the same."""
    if abs(len(a) - len(b)) > 1:
        return False
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    if min(movement(a), movement(b)) < STILL:
        return distance(a, b) <= MAX_DISTANCE_STILL
    return distance(a, b) <= MAX_DISTANCE and correlation(a, b) >= MIN_CORRELATION


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the root mean square difference in gray levels, over the common thumbnails."""
    count = min(len(a), len(b))
    return float(np.sqrt(np.mean((_centered(a[:count]) - _centered(b[:count])) ** 2)))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate the movements: each pixel's values over time minus their mean; 0 without any."""
    count = min(len(a), len(b))
    x, y = (_centered(each[:count]) for each in (a, b))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else 0.0


def movement(images: np.ndarray) -> float:
    """Compute the mean variance of a pixel over time, in squared gray levels."""
    return float(_centered(images).var(axis=0).mean())


def _centered(images: np.ndarray) -> np.ndarray:
    images = images.astype(np.float32)
    return images - images.mean(axis=(1, 2), keepdims=True)


def _candidates(clips: Sequence[ClipStart]) -> Iterator[tuple[int, int]]:
    """Find pairs (a < b) of similar length within about MAX_DISTANCE, by blocked matrix products.

    Thumbnails of the thumbnails come first: their distance is never above that of the thumbnails,
    and they are a 16th of the numbers. The 39,000 clips of FERV39k would else take a minute, were
    they of one length.
    """
    if not clips:
        return
    length = np.array([-1 if clip.frames is None else clip.frames for clip in clips])
    order = np.argsort(length, kind="stable")
    length = length[order]
    flat = np.empty((len(clips), _FULL * SIDE**2), np.float32)
    for row, clip in enumerate(order):
        flat[row] = _padded(clips[clip].start)
    coarse = _coarse(flat)
    # shorter clips repeat their last thumbnail, hence the wider limit of this first choice
    limit = (2 * MAX_DISTANCE) ** 2 * flat.shape[1]
    for low in range(0, len(flat), _BLOCK):
        rows = slice(low, min(low + _BLOCK, len(flat)))
        end = int(np.searchsorted(length, length[rows][-1] + LENGTH_TOLERANCE, side="right"))
        # the sum of rounded terms may be a little above the sum of the exact ones
        near = _squared(coarse[rows], coarse[low:end]) <= limit * (1 + _ROUNDING)
        near &= length[None, low:end] - length[rows, None] <= LENGTH_TOLERANCE
        near = np.triu(near, 1)
        # a pair by itself costs what 200 pairs cost in a product
        if np.count_nonzero(near) > near.size / 200:
            near &= _squared(flat[rows], flat[low:end]) <= limit
        for i, j in np.argwhere(near):
            step = flat[low + i] - flat[low + j]
            if step @ step <= limit:
                a, b = sorted((int(order[low + i]), int(order[low + j])))
                yield a, b


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute squared distances [n, m] of the rows of a [n, d] and b [m, d]."""
    near: np.ndarray = a @ b.T
    near *= -2
    near += np.einsum("nd,nd->n", a, a)[:, None]
    near += np.einsum("nd,nd->n", b, b)
    return near


def _padded(images: np.ndarray) -> np.ndarray:
    """Concatenate thumbnails minus their means, the last one repeated to the full number."""
    centered = _centered(images)
    missing = np.repeat(centered[-1:], _FULL - len(centered), axis=0)
    return np.concatenate([centered, missing]).reshape(-1)


def _coarse(flat: np.ndarray) -> np.ndarray:
    """Compute means of squares of pixels, times the square's side: an orthonormal projection.

    Shapes:
        flat: [n, _FULL * SIDE * SIDE]
        returns: [n, _FULL * _COARSE * _COARSE]
    """
    side = SIDE // _COARSE
    squares = flat.reshape(len(flat), _FULL * _COARSE, side, _COARSE, side)
    means: np.ndarray = squares.mean(axis=(2, 4)) * np.float32(side)
    return means.reshape(len(flat), -1)
