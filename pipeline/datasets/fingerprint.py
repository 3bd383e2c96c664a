"""Find near-duplicates: clips with the same images in different files.

Corpora contain one performance in several files: with and without sound, in two containers, with
another bit rate, size or frame rate. Near-duplicates on two sides of a split are a leak that no
file digest shows.

A fingerprint is a small gray image of every fifth of a second, the mean of its frames, so that the
frame rate does not matter. What is compared is what changes from one to the next, because people,
clothing and background are the same in all clips of one person:

- Of each image, the multiple of the clip's median image is taken away. Contrast, brightness and a
  fade from black have no effect.
- A change larger than the clip's median change counts as that: the cut after a common title is one
  change like others.
- The similarity of two clips is the cosine of their changes (1: the same, 0: unrelated).

Clips of the same length whose first 1.2 s are alike are candidates; their first 30 s decide. Their
median images must be alike, too: roughly, or without movement nearly exactly; where they are nearly
the same, the changes have to be less similar. A clip without contrast (black) shows nothing that
could be the same.

`benchmarks/near_duplicates.py` measures the limits on real and rendered faces; the result and the
error rates are in `benchmarks/results`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.datasets.groups import connected
from arpgnet.pipeline.video import image_folder as folders

SIDE = 16
# shorter steps make a frame rate of 10 or 15 visible, longer ones hide movement
STEP_S = 0.2
START_S = 1.2
WHOLE_S = 30.0
# of an image folder, whose frame rate is not known here: every 4th image is a step
FOLDER_STEP = 4
# of the declared lengths, which may be those of the sound; a conversion to 10 fps moves the end
# by 0.1 s
LENGTH_TOLERANCE_S = 0.3
# pixels of the small image: a crop of 3 % moves the border by half a pixel
BLUR = 0.7
MIN_SIMILARITY_START = 0.6
MIN_SIMILARITY = 0.72
# where the median image is nearly the same: in a clip of little movement, coding noise is a large
# part of the changes; different clips with such images reach 0.41
MAX_DIFFERENCE_SAME = 0.1
MIN_SIMILARITY_SAME = 0.52
# fewer changes are alike more often by chance: the place must be the same, too
FEW_CHANGES = 5
MIN_SIMILARITY_FEW = 0.83
MAX_DIFFERENCE_FEW = 0.2
# squared gray levels: a speaking or acting face has a median change of 0.46 and more
STILL = 0.1
# of two images, the share of the contrast that differs: 0.35 where 8 of 256 pixels are cut off
# each side
MAX_DIFFERENCE = 0.5
MAX_DIFFERENCE_STILL = 0.04
# gray levels (standard deviation): below, the image is black or of one color
MIN_CONTRAST = 2.0
_BLOCK = 512
# of a start that is long enough
_FULL = round(START_S / STEP_S)
_COARSE = 8
_ROUNDING = 0.01
# a file may claim that all of its frames are of one time
_MAX_FPS = 240


@dataclass(frozen=True)
class ClipStart:
    """What identifies near-duplicates: length (None: unknown) and the start's thumbnails."""

    length_s: float | None
    start: np.ndarray


@dataclass(frozen=True)
class Movement:
    """What is compared of a clip.

    Shapes: `changes` float32 `[n - 1, SIDE, SIDE]`; `image` float32 `[SIDE, SIDE]`, the median
    image. `strength` is the median squared change of a pixel.
    """

    changes: np.ndarray
    image: np.ndarray
    strength: float

    @property
    def still(self) -> bool:
        return self.strength < STILL

    @property
    def blank(self) -> bool:
        """Whether there is nothing to see: black, or one color."""
        return float(self.image.std()) < MIN_CONTRAST


def thumbnails(path: Path, seconds: float = START_S) -> np.ndarray:
    """Decode a clip's start into small gray images, one for each `STEP_S`.

    Returns:
        [n, SIDE, SIDE] uint8; n is smaller where the clip ends early or breaks.

    Raises:
        ClipError: the file is no video, or not one frame can be decoded.
    """
    from arpgnet.pipeline.video.container import frame_rate, open_video

    with open_video(path) as (container, stream):
        return frame_thumbnails(container.decode(stream), frame_rate(stream), seconds)


def frame_thumbnails(
    frames: Iterable[Any], fps: float | None, seconds: float = START_S
) -> np.ndarray:
    """Compute `thumbnails` of decoded frames; `fps` is for frames without a time."""
    import av
    from av.video.reformatter import VideoReformatter

    means: list[np.ndarray] = []
    total: np.ndarray = np.zeros((SIDE, SIDE))
    count = 0
    # set up once per file, without threads of its own: 0.03 ms an image, else up to 2
    converter = VideoReformatter()
    first: float | None = None
    try:
        for index, frame in enumerate(itertools.islice(frames, int(seconds * _MAX_FPS))):
            time = index / (fps or 25.0) if frame.time is None else frame.time
            first = time if first is None else first
            # half a millisecond: Matroska's times are rounded to one
            step = int((time - first + 0.0005) / STEP_S)
            if time - first + 0.0005 >= seconds:
                break
            if count and step > len(means):
                # an image that is held is shown in every step up to the next one
                mean = np.round(total / count).astype(np.uint8)
                means += [mean] * (step - len(means))
                total, count = np.zeros_like(total), 0
            small = converter.reformat(
                frame, width=SIDE, height=SIDE, format="gray", interpolation="AREA", threads=1
            )
            total, count = total + small.to_ndarray(), count + 1
    except (av.FFmpegError, OSError):
        # a clip that is damaged later on is handled by the decode stage
        pass
    if not count:
        raise ClipError("no frame can be decoded")
    return np.stack([*means, np.round(total / count).astype(np.uint8)])


def image_thumbnails(images: folders.ImageFolder, seconds: float = START_S) -> np.ndarray:
    """Compute `thumbnails` of a folder of images; unreadable ones are skipped.

    Raises:
        ClipError: none of the first ones can be read.
    """
    limit = round(seconds / STEP_S) * FOLDER_STEP
    found = []
    for name in images.names[:limit:FOLDER_STEP]:
        image = folders.decode_image((images.folder / name).read_bytes())
        if image is not None:
            gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            found.append(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    if not found:
        raise ClipError("no image can be read")
    return np.stack(found)


def find_near_duplicates(
    clips: Sequence[ClipStart], whole: Callable[[Sequence[int]], Sequence[np.ndarray]]
) -> list[int | None]:
    """Group near-duplicate clips.

    Args:
        clips: fingerprints.
        whole: gives the thumbnails of the first `WHOLE_S` of clips by their rows; called once, for
            clips whose starts are alike.

    Returns:
        per clip the row of the first clip of its group, or None when it has no duplicate.
    """
    candidates = list(_candidates(clips))
    rows = sorted({row for pair in candidates for row in pair})
    moves = dict(zip(rows, map(movement, whole(rows) if rows else []), strict=True))
    pairs = [(a, b) for a, b in candidates if same_images(moves[a], moves[b])]
    group = connected(len(clips), pairs)
    grouped = {row for pair in pairs for row in pair}
    return [group[row] if row in grouped else None for row in range(len(clips))]


def movement(thumbnails: np.ndarray) -> Movement:
    """Compute what is compared of a clip from its thumbnails."""
    images = np.stack([cv2.GaussianBlur(each, (0, 0), BLUR) for each in thumbnails.astype("f4")])
    images -= images.mean(axis=(1, 2), keepdims=True)
    image = np.median(images, axis=0)
    energy = float((image * image).sum())
    if energy:
        images -= ((images * image).sum(axis=(1, 2)) / energy)[:, None, None] * image
    changes = np.diff(images, axis=0)
    if not len(changes):
        return Movement(changes, image, 0.0)
    size = np.sqrt((changes * changes).mean(axis=(1, 2)))
    usual = float(np.median(size))
    changes *= np.minimum(1, usual / np.maximum(size, 1e-6))[:, None, None]
    return Movement(changes, image, usual**2)


def same_images(a: Movement, b: Movement) -> bool:
    """Tell whether two clips, seen as a whole, show the same."""
    if a.blank or b.blank:
        return False
    unlike = difference(a, b)
    if a.still or b.still:
        return unlike <= MAX_DIFFERENCE_STILL
    if min(len(a.changes), len(b.changes)) < FEW_CHANGES:
        return unlike <= MAX_DIFFERENCE_FEW and similarity(a, b) >= MIN_SIMILARITY_FEW
    return unlike <= MAX_DIFFERENCE and similarity(a, b) >= least_similarity(unlike)


def least_similarity(unlike: float) -> float:
    """Return the similarity that two whole clips need whose images differ by `unlike`."""
    return MIN_SIMILARITY_SAME if unlike <= MAX_DIFFERENCE_SAME else MIN_SIMILARITY


def similarity(a: Movement, b: Movement) -> float:
    """Compute the cosine of the changes over the common length; 0 without any."""
    count = min(len(a.changes), len(b.changes))
    x, y = a.changes[:count], b.changes[:count]
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else 0.0


def difference(a: Movement, b: Movement) -> float:
    """Compute which share of the images' contrast differs: 0, the same; 1, nothing in common."""
    x, y = a.image - a.image.mean(), b.image - b.image.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    cosine = float((x * y).sum()) / scale if scale else 0.0
    return float(np.sqrt(max(0.0, 1 - cosine * abs(cosine))))


def _candidates(clips: Sequence[ClipStart]) -> Iterator[tuple[int, int]]:
    """Find pairs (a < b) of similar length with similar starts, by blocked matrix products."""
    if not clips:
        return
    # a length that is not known, sorted first, fits every other
    length = np.array([-1.0 if clip.length_s is None else clip.length_s for clip in clips])
    order = np.argsort(length, kind="stable")
    length = length[order]
    starts = [movement(clips[row].start) for row in order]
    still = np.array([start.still for start in starts])
    changes = np.zeros((len(clips), (_FULL - 1) * SIDE**2), np.float32)
    for row, start in enumerate(starts):
        flat = start.changes[: _FULL - 1].reshape(-1)
        changes[row, : len(flat)] = flat / max(float(np.linalg.norm(flat)), 1e-6)
    coarse = _coarse(changes)
    # of vectors of length 1, the squared distance is 2 - 2 times the cosine; where one start is a
    # step longer than the other, its last change takes away up to 0.3 of that
    limit = (2 - 2 * 0.7 * MIN_SIMILARITY_START) * (1 + _ROUNDING)
    for low in range(0, len(clips), _BLOCK):
        rows = slice(low, min(low + _BLOCK, len(clips)))
        unknown = length[low] < 0
        last = length[rows][-1] + LENGTH_TOLERANCE_S
        end = len(clips) if unknown else int(np.searchsorted(length, last, side="right"))
        near = _squared(coarse[rows], coarse[low:end]) <= limit
        near |= still[rows, None] | still[None, low:end]
        near &= (length[None, low:end] - length[rows, None] <= LENGTH_TOLERANCE_S) | (
            length[rows, None] < 0
        )
        near = np.triu(near, 1)
        # a pair by itself costs what 200 pairs cost in a product
        if np.count_nonzero(near) > near.size / 200:
            alike = _squared(changes[rows], changes[low:end]) <= limit
            near &= alike | still[rows, None] | still[None, low:end]
        for i, j in np.argwhere(near):
            if _alike_at_start(starts[low + i], starts[low + j]):
                a, b = sorted((int(order[low + i]), int(order[low + j])))
                yield a, b


def _alike_at_start(a: Movement, b: Movement) -> bool:
    """Tell whether it is worth looking at the whole clips."""
    if a.blank or b.blank:
        # a black start says nothing
        return a.blank and b.blank
    if difference(a, b) > MAX_DIFFERENCE:
        return False
    return a.still or b.still or similarity(a, b) >= MIN_SIMILARITY_START


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute squared distances [n, m] of the rows of a [n, d] and b [m, d]."""
    near: np.ndarray = a @ b.T
    near *= -2
    near += np.einsum("nd,nd->n", a, a)[:, None]
    near += np.einsum("nd,nd->n", b, b)
    return near


def _coarse(flat: np.ndarray) -> np.ndarray:
    """Compute means of squares of pixels, times the square's side: an orthonormal projection.

    Distances after it are never above those before, and it has a quarter of the numbers.

    Shapes:
        flat: [n, (_FULL - 1) * SIDE * SIDE]
        returns: [n, (_FULL - 1) * _COARSE * _COARSE]
    """
    side = SIDE // _COARSE
    squares = flat.reshape(len(flat), (_FULL - 1) * _COARSE, side, _COARSE, side)
    means: np.ndarray = squares.mean(axis=(2, 4)) * np.float32(side)
    return means.reshape(len(flat), -1)
