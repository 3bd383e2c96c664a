"""Faces that nobody can recognize, in the overlay and on the page: with a row in the table or not.

A miss shows somebody, a false alarm blurs a piece of wall. So each image is searched as a whole and
below the tracker's threshold, and a face that was found above it once stays blurred for `HOLD_S`
where it is not found anymore, or not yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.networks.detector import Detections, Detector, find_faces
from arpgnet.pipeline.predict.output import Table
from arpgnet.pipeline.predict.rows import ByFrame, Row
from arpgnet.pipeline.video.stream import InStep, Plan

# of the detector's score, for the image that it is found in
THRESHOLD = 0.3
HOLD_S = 1.0
# what is blurred around a box, as a fraction of its sides: hair, ears and chin
AROUND = 0.25
# Colors that are left of a face, from side to side of its box, with smooth steps between them.
# With 3 the packs' detectors and SCRFD find none of 80 rendered and 45 real faces (with 5, YuNet
# finds 23 of the real ones), but one frame of three clips has an embedding with a cosine of 0.32 to
# the original's; with 2 the highest is 0.28
CELLS = 2
# an image that the detector shrinks to less is also searched in four parts, which overlap
PARTS_BELOW = 0.75
PART = 0.6
# boxes of one face in two frames: centers less than a side apart, sides alike by this factor
GROWTH = 1.6


def blurred(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return a copy of an RGB image, uint8 [H, W, 3], whose boxes [n, 4] show a few colors."""
    image = image.copy()
    limits = np.array(image.shape[1::-1])
    for box in boxes:
        corner, opposite = box[:2], box[2:]
        margin = AROUND * (opposite - corner)
        x1, y1 = np.clip(np.floor(corner - margin), 0, limits).astype(int).tolist()
        x2, y2 = np.clip(np.ceil(opposite + margin), 0, limits).astype(int).tolist()
        if x2 <= x1 or y2 <= y1:
            continue
        # by the whole face, where the image shows a part of it
        cell = max(float((opposite - corner).max()) / CELLS, 1.0)
        few = max(1, round((x2 - x1) / cell)), max(1, round((y2 - y1) / cell))
        colors = cv2.resize(image[y1:y2, x1:x2], few, interpolation=cv2.INTER_AREA)
        size = x2 - x1, y2 - y1
        image[y1:y2, x1:x2] = cv2.resize(colors, size, interpolation=cv2.INTER_LINEAR)
    return image


def without_faces(image: np.ndarray, row: Row) -> np.ndarray:
    """Return the image of a row's frame as it may be shown."""
    return image if row.blurred is None else blurred(image, row.blurred)


def search(detector: Detector, image: np.ndarray, pad_retry: float) -> Detections:
    """Find the faces of an image, with those that are small in a large image; some twice."""
    found = [find_faces(detector, image, pad_retry)]
    if detector.scale(image) < PARTS_BELOW:
        parts = _parts(image)
        found += [detector.detect(part).shifted(left, top) for top, left, part in parts]
    return Detections.concat(found)


def _parts(image: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield top, left and image of the four parts."""
    height, width = image.shape[:2]
    high, wide = round(PART * height), round(PART * width)
    for top in (0, height - high):
        for left in (0, width - wide):
            part = image[top : top + high, left : left + wide]
            yield top, left, np.ascontiguousarray(part)


@dataclass
class _Frame:
    rows: list[Row]
    boxes: list[np.ndarray]


@dataclass(eq=False)
class _Seen:
    """A face where it was found last, and whether it was ever found above the threshold."""

    time_s: float
    box: np.ndarray
    certain: bool


class FaceBlur:
    """Passes rows on to a table that shows images, with what must be blurred in their frames.

    Args:
        shown: gets each row after `HOLD_S` more seconds of video.
        video: whose images are searched.
        expected: the frames that the rows speak of.
        detector: with the threshold `THRESHOLD`.
        align: the tracker's settings.

    Raises:
        Unexpected: the frames are others.
        ClipError, UserError: the video cannot be read.
    """

    def __init__(
        self, shown: Table, video: Path, expected: Plan, detector: Detector, align: AlignParams
    ) -> None:
        self._shown, self._detector, self._align = shown, detector, align
        self._images = InStep(video, expected)
        self._frames = ByFrame(self._add_frame)
        self._waiting: deque[_Frame] = deque()
        self._seen: list[_Seen] = []

    def add(self, row: Row) -> None:
        """Add the next row."""
        self._frames.add(row)

    def close(self, complete: bool) -> None:
        """Pass the last rows on, and finish the table."""
        try:
            self._frames.end()
            while self._waiting:
                self._pass_on()
        finally:
            self._shown.close(complete)

    def discard(self) -> None:
        """Discard the table."""
        self._shown.discard()

    def _add_frame(self, rows: list[Row], _: float) -> None:
        image = self._images.at(rows[0].frame).image
        self._waiting.append(_Frame(rows, [row.box for row in rows if row.box is not None]))
        self._follow(rows[0].time_s, search(self._detector, image, self._align.pad_retry))
        while rows[0].time_s - self._waiting[0].rows[0].time_s > HOLD_S:
            self._pass_on()

    def _follow(self, time_s: float, found: Detections) -> None:
        """Note the latest frame's faces there, and in frames before in which they were missed."""
        *earlier, latest = self._waiting
        lost = [one for one in self._seen if time_s - one.time_s <= HOLD_S]
        seen: list[_Seen] = []
        for box, score in zip(found.boxes, found.scores, strict=True):
            certain = bool(score >= self._align.det_thresh)
            before = next((one for one in lost if _alike(one.box, box)), None)
            since, missed = time_s if not certain else time_s - HOLD_S, box
            if before is not None:
                lost.remove(before)
                certain = certain or before.certain
                since, missed = before.time_s, _around(before.box, box)
            for frame in earlier:
                if frame.rows[0].time_s > since:
                    frame.boxes.append(missed)
            latest.boxes.append(box)
            seen.append(_Seen(time_s, box, certain))
        latest.boxes += [one.box for one in lost if one.certain]
        self._seen = seen + lost

    def _pass_on(self) -> None:
        frame = self._waiting.popleft()
        boxes = np.array(frame.boxes).reshape(-1, 4)
        for row in frame.rows:
            self._shown.add(replace(row, blurred=boxes))


def _around(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the smallest box around two."""
    return np.concatenate([np.minimum(one, other)[:2], np.maximum(one, other)[2:]])


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two boxes may be one face a moment later."""
    sides = [float((box[2:] - box[:2]).max()) for box in (one, other)]
    step = float(np.abs((one[:2] + one[2:]) - (other[:2] + other[2:])).max()) / 2
    return step < max(sides) and max(sides) < GROWTH * max(min(sides), 1.0)
