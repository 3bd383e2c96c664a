"""What the target data shows, so that no still of it is learned from.

A still is refused when its file is one of the target's, when it names one of the target's people,
when it is an image of the target's (whole, however scaled and compressed), or when its aligned
face is a face of the target's (which finds cut-out stills too, as far as the detector puts the
same points on them). Images and faces are compared as thumbnails of 16 x 16 gray levels, by
their correlation r, also mirrored.

Measured on 256 faces of 6 people in 16 clips (ASL signers, RAVDESS), 1 - r to the nearest of 16
frames of the clip that the still was cut from, median and 95 %; then to the nearest of another
person, the smallest:

                                   whole image      aligned face
    half the side, JPEG quality 50  0.000  0.000      0.017  0.095
    1.5 times the side, quality 80  0.000  0.000      0.002  0.026
    brighter, more contrast         0.000  0.003      0.005  0.017
    a frame next to one of the 16   0.000  0.012      0.003  0.031
    a third of the width cut off    -                 0.029  0.088
    another person                  0.070             0.077
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader

SIDE = 16
MIN_CORRELATION = 0.97
SAME_FILE = "the same file as a clip of the target data"
SAME_PERSON = "of a person of the target data"
SAME_IMAGE = "an image of the target data"
SAME_FACE = "a face of the target data"
_BLOCK = 8192


class Target:
    """Files, people, images and faces of the target data.

    Args:
        clips: of the manifest.
        frames: the output of decode.
        faces: the output of align.
    """

    def __init__(self, clips: Sequence[Clip], frames: Path, faces: Path) -> None:
        self.sums = {clip.sha256 for clip in clips} - {""}
        self.people = {clip.subject for clip in clips if clip.subject is not None}
        ids = [clip.clip_id for clip in clips]
        self._images = _units(list(_frames(ShardReader(frames), ids)))
        self._faces = _units(list(_crops(ShardReader(faces), ids)))

    def images(self, thumbnails: np.ndarray) -> np.ndarray:
        """Return correlation of each, uint8 [n, 16, 16], with the most alike image: float32 [n]."""
        return _nearest(thumbnails, self._images)

    def faces(self, thumbnails: np.ndarray) -> np.ndarray:
        """Return correlation of each, uint8 [n, 16, 16], with the most alike face: float32 [n]."""
        return _nearest(thumbnails, self._faces)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return uint8 [H, W, 3] RGB, or [H, W] -> uint8 [16, 16]."""
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _nearest(thumbnails: np.ndarray, known: np.ndarray) -> np.ndarray:
    own, mirrored = _units(list(thumbnails)), _units(list(thumbnails[:, :, ::-1]))
    nearest = np.full(len(own), -1.0, np.float32)
    for start in range(0, len(known), _BLOCK):
        for each in (own, mirrored):
            found = (each @ known[start : start + _BLOCK].T).max(axis=1)
            np.maximum(nearest, found, out=nearest)
    return nearest


def _units(thumbnails: list[np.ndarray]) -> np.ndarray:
    """Subtract the mean and scale to length 1: float32 [n, 256]; a plain image is 0."""
    if not thumbnails:
        return np.empty((0, SIDE**2), np.float32)
    flat = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > SIDE, flat / np.maximum(length, 1.0), 0.0).astype(np.float32)


def _frames(reader: ShardReader, clip_ids: Sequence[str]) -> Iterator[np.ndarray]:
    for data in _column(reader, clip_ids, "jpeg"):
        # a JPEG is made of waves; the first few alone take a quarter of the time
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
        if image is not None:
            yield thumbnail(np.asarray(image))


def _crops(reader: ShardReader, clip_ids: Sequence[str]) -> Iterator[np.ndarray]:
    return (thumbnail(square(data)) for data in _column(reader, clip_ids, "crop") if data)


def _column(reader: ShardReader, clip_ids: Sequence[str], name: str) -> Iterator[bytes]:
    for clip_id in clip_ids:
        if reader.entry(clip_id).ok:
            for piece in reader.pieces(clip_id, [name]):
                yield from piece.column(name).to_pylist()


def square(data: bytes) -> np.ndarray:
    """Return a crop's bytes as uint8 [S, S, 3]."""
    side = math.isqrt(len(data) // 3)
    return np.frombuffer(data, np.uint8).reshape(side, side, 3)
