"""Faces from frame to frame: found once in the whole image, then looked for where they were.

A detector spends 86 ms on a whole 640 x 640 image and 3 ms on the 120 x 120 pixels round a face
(SCRFD-2.5G, one core). The small look is the large one's middle: same scale, and its upper left
corner on the detector's grid, so that the cells see what they see in the whole image. On 179
frames of 8 people, embeddings then have a cosine of 0.994 (median) to those behind a full look,
0.988 with corners anywhere.

The first look at a clip is at half the scale, a quarter of the time, and what it finds is looked at
again nearby; where it finds nothing, or something that is not found again, the whole image is
looked at as it is.

Where frames are dense, a face that is at nearly the same place a tenth of a second later is not
looked for in between: its points there are those of a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.geometry.tracks import iou
from arpgnet.pipeline.networks.detector import (
    GRID_PX,
    Detections,
    Detector,
    Image,
    find_faces,
    on_grid,
)

# A face's own border, as a fraction of its sides. More costs time and changes nothing: medians of
# the landmarks' difference to those behind a full look are 1.1 % of the eye distance at 0.05 to 0.2
BORDER = 0.15
# the border grows with the face's last step: it must not leave the part that is looked at
STEPS_AHEAD = 1.5
# where that was not enough, before the whole image is looked at
WIDE_BORDER = 0.75
# a face that is larger than this in the full look is shrunk to it
FACE_PX = 128
# of the whole image: where the parts add up to more, it is looked at
WORTH_IT = 0.5
# a face that moved or grew by this much since the last frame, as a fraction of its side, is another
JUMP = 0.5
# of its side: a face whose points moved by less is on a straight line in between
STILL = 0.05


@dataclass
class Follower:
    """Finds the faces of the successive frames of one clip.

    Args:
        pad_retry: see `find_faces`; for looks at the whole image.
        full_every: frames from one look at the whole image to the next, at the latest; that
            is when a face that was not there before is found. 1: always the whole image.
        max_interpolation_s: seconds over which a face that keeps still is interpolated
            instead of detected. 0: never.
        first_scale: of the first look, as a fraction of the detector's. A face of less than about
            25 of 640 pixels may then go unnoticed beside a larger one until the next full look.
            1: none.
    """

    detector: Detector
    pad_retry: float
    full_every: int
    max_interpolation_s: float
    first_scale: float
    _shape: tuple[int, ...] = ()
    _since_full: int = 0
    # how far a face went from one look to the next, as a fraction of its side
    _pace: float = 0.0

    def follow(self, frames: Iterable[tuple[float, Image]]) -> Iterator[tuple[Image, Detections]]:
        """Yield each frame with its faces, in order; frames are (seconds, RGB uint8 [H, W, 3]).

        At most `max_interpolation_s` of frames are in memory at a time.
        """
        found: Detections | None = None
        for group in _groups(frames, self.max_interpolation_s):
            self._since_full += len(group)
            last = self._find(group[-1], found)
            between = self._between(found, group[:-1], last)
            yield from zip(group, [*between, last], strict=True)
            found = last

    def _between(
        self, first: Detections | None, images: list[Image], last: Detections
    ) -> list[Detections]:
        """Interpolate the faces between two frames whose faces are known: on a straight line
        or, where they moved too far for that, by halves."""
        if not images:
            return []
        straight = None if first is None else _straight(first, last, len(images) + 1)
        if straight is not None:
            return straight
        half = len(images) // 2
        middle = self._find(images[half], first)
        left = self._between(first, images[:half], middle)
        return [*left, middle, *self._between(middle, images[half + 1 :], last)]

    def _find(self, image: Image, before: Detections | None) -> Detections:
        """Return the faces of an image, near those of a frame before if possible."""
        found = None
        if self.detector.any_sides and self.full_every > 1:
            if before is None:
                found = self._look_first(image)
            elif before and image.shape == self._shape and self._since_full < self.full_every:
                found = self._look_near(image, before)
        if found is None:
            found = find_faces(self.detector, image, self.pad_retry)
            self._since_full = self._pace = 0
        self._shape = image.shape
        return found

    def _look_first(self, image: Image) -> Detections | None:
        """Return the faces that a small copy of the whole image shows; None if there are none."""
        if self.first_scale == 1.0:
            return None
        scale = self.detector.scale(image) * self.first_scale
        height, width = (on_grid(side * scale) for side in image.shape[:2])
        found = _Part(0, 0, width, height, scale).found(self.detector, image)
        return self._look_near(image, found) if found else None

    def _look_near(self, image: Image, before: Detections) -> Detections | None:
        """Search near each known face; None if one is not found or the parts are too large."""
        scale = self.detector.scale(image)
        whole = scale**2 * image.shape[0] * image.shape[1]
        for border in (max(BORDER, STEPS_AHEAD * self._pace), WIDE_BORDER):
            parts = [_part_around(box, scale, border) for box in before.boxes]
            if sum(part.width * part.height for part in parts) > WORTH_IT * whole:
                return None
            near = self._look_at(image, parts, before)
            if near is not None:
                pairs = zip(before.boxes, near.boxes, strict=True)
                self._pace = max(_step(box, found) for box, found in pairs)
                return near
        return None

    def _look_at(self, image: Image, parts: list[_Part], before: Detections) -> Detections | None:
        """Return one face in each part, the one that was there before; None where one is not."""
        faces = []
        for part, box in zip(parts, before.boxes, strict=True):
            face = _same_face(part.found(self.detector, image), box)
            if face is None or not part.holds(face.boxes[0], image):
                return None
            faces.append(face)
        concat = Detections.concat(faces)
        # two parts may have seen one face
        overlaps = np.triu(iou(concat.boxes, concat.boxes), 1)
        return None if overlaps.max() > JUMP else concat


def _groups(frames: Iterable[tuple[float, Image]], longest_s: float) -> Iterator[list[Image]]:
    """The frames in groups whose last is at most `longest_s` behind the last of the group before.

    The first frame is a group of its own.
    """
    group: list[Image] = []
    start: float | None = None
    latest = 0.0
    for time_s, image in frames:
        if group and start is not None and time_s - start > longest_s:
            yield group
            group, start = [], latest
        group.append(image)
        latest = time_s
        if start is None:
            yield group
            group, start = [], time_s
    if group:
        yield group


def _same_face(found: Detections, box: np.ndarray) -> Detections | None:
    """Return the one of the faces that lies where a face was, if it did not jump."""
    if not len(found):
        return None
    overlap = iou(box[None], found.boxes)[0]
    best = int(overlap.argmax())
    if not overlap[best] or _step(box, found.boxes[best]) > JUMP:
        return None
    return found.picked(slice(best, best + 1))


def _step(before: np.ndarray, after: np.ndarray) -> float:
    """Return the largest move of a box's edge, as a fraction of its side."""
    return float(np.abs(after - before).max()) / _side(before)


def _side(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], box[3] - box[1], 1.0))


def _straight(first: Detections, last: Detections, steps: int) -> list[Detections] | None:
    """Return the faces of the `steps - 1` frames between two, on straight lines; None if not still.

    The same faces in the same order must be in both; what was followed is.
    """
    if len(first) != len(last) or not len(first):
        return None
    sides = np.array([_side(box) for box in first.boxes])
    if (np.abs(last.kps - first.kps).max(axis=(1, 2)) / sides).max() > STILL:
        return None
    return [
        Detections(
            _on_the_way(first.boxes, last.boxes, step / steps),
            np.minimum(first.scores, last.scores),
            _on_the_way(first.kps, last.kps, step / steps),
        )
        for step in range(1, steps)
    ]


def _on_the_way(first: np.ndarray, last: np.ndarray, part: float) -> np.ndarray:
    return np.asarray(first + (last - first) * np.float32(part), dtype=np.float32)


@dataclass(frozen=True)
class _Part:
    """A rectangle of the image scaled by `scale`, in pixels of the scaled image."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    def found(self, detector: Detector, image: Image) -> Detections:
        """Return its faces, in pixels of the image."""
        found = detector.look(self._cut(image))
        return found.shifted(self.left, self.top).scaled(1 / self.scale)

    def holds(self, box: np.ndarray, image: Image) -> bool:
        """Check whether a box in image pixels lies inside; at an edge it may have been cut.

        At an edge of the image it was not cut by us.
        """
        height, width = image.shape[:2]
        x1, y1, x2, y2 = box * self.scale
        right, bottom = self.left + self.width, self.top + self.height
        across = (self.left <= 0 or x1 > self.left) and (right >= width * self.scale or x2 < right)
        down = (self.top <= 0 or y1 > self.top) and (bottom >= height * self.scale or y2 < bottom)
        return bool(across and down)

    def _cut(self, image: Image) -> Image:
        """Return the part as the detector would see it; black beyond the image's edges."""
        if self.scale == 1.0:
            part = np.zeros((self.height, self.width, 3), dtype=np.uint8)
            x, y = max(self.left, 0), max(self.top, 0)
            inner = image[y : self.top + self.height, x : self.left + self.width]
            below, right = y - self.top, x - self.left
            part[below : below + inner.shape[0], right : right + inner.shape[1]] = inner
            return part
        # pixel centers as cv2.resize puts them
        zoom = 1 / self.scale
        shift = [(corner + 0.5) * zoom - 0.5 for corner in (self.left, self.top)]
        matrix = np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        scaled = cv2.warpAffine(image, matrix, (self.width, self.height), flags=flags)
        return np.asarray(scaled, dtype=np.uint8)


def _part_around(box: np.ndarray, full_scale: float, border: float) -> _Part:
    """Return the part to search for a face, at the full scale unless the face is large."""
    scale = min(full_scale, FACE_PX / _side(box))
    x1, y1, x2, y2 = box * scale
    # the edge of the whole image is an edge here too; a face shrunk to fit wants its border
    edge = 0.0 if scale == full_scale else -math.inf
    left, width = _span(max(x1 - border * (x2 - x1), edge), x2 + border * (x2 - x1))
    top, height = _span(max(y1 - border * (y2 - y1), edge), y2 + border * (y2 - y1))
    return _Part(left, top, width, height, scale)


def _span(low: float, high: float) -> tuple[int, int]:
    """Start and length of the shortest stretch of grid cells that holds [low, high]."""
    start = math.floor(low / GRID_PX) * GRID_PX
    return start, max(on_grid(high - start), GRID_PX)


def make_follower(detector: Detector, align: AlignParams) -> Follower:
    """Return one that follows the faces of one clip, by the settings."""
    return Follower(
        detector,
        pad_retry=align.pad_retry,
        full_every=align.full_every,
        max_interpolation_s=align.max_interpolation_s,
        first_scale=align.first_scale,
    )
