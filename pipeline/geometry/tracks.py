"""Which faces of successive frames are one face, and which of them is the clip's.

Sampled frames may lie half a second apart, where overlap alone loses a moving head; so two
boxes also match when their centers are less than a face apart and their sizes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MainFace = Literal["longest", "largest", "center"]
Boxes = NDArray[np.floating]

# a face moves less than this, in face sides, between sampled frames
MAX_STEP = 0.75
# and grows or shrinks by less than this factor in area
MAX_GROWTH = 2.5


@dataclass
class Track:
    """One face through a clip: the frames it is seen in and which detection it is there.

    `frames` are positions in the sampled sequence, rising; `picks` are indices into the
    frame's detections; `boxes` are xyxy in pixels.
    """

    track_id: int
    frames: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def add(self, frame: int, pick: int, box: Boxes) -> None:
        self.frames.append(frame)
        self.picks.append(pick)
        self.boxes.append(box)


def link(boxes: Sequence[Boxes], min_iou: float) -> list[Track]:
    """Join detections into tracks, frame by frame, by the best one-to-one assignment.

    A track that is lost waits for the rest of the clip: hands and turned heads hide a face
    for many frames.

    Args:
        boxes: for each sampled frame `[n, 4]` xyxy in pixels.
        min_iou: intersection over union that makes a match by itself.
    """
    tracks: list[Track] = []
    for frame, found in enumerate(boxes):
        if not len(found):
            continue
        taken = _assign(tracks, found, min_iou)
        for pick, box in enumerate(found):
            if pick not in taken:
                tracks.append(Track(len(tracks)))
            taken.get(pick, tracks[-1]).add(frame, pick, box)
    return tracks


def choose(
    tracks: Sequence[Track], main_face: MainFace, frames: int, width: int, height: int
) -> Track | None:
    """Return the clip's face; None when there are no tracks.

    `longest` counts frames, `largest` adds up areas, `center` adds up nearness to the middle
    of the image; frames in which a track is not seen count nothing in all three. Ties go to
    the larger face, then to the first seen.

    Args:
        frames: number of sampled frames; width, height: of the image in pixels.
    """
    if not tracks:
        return None
    middle = np.array([width, height]) / 2
    reach = float(np.hypot(*middle))

    def merit(track: Track) -> tuple[float, float, int]:
        boxes = np.stack(track.boxes).astype(np.float64)
        area = float(_areas(boxes).sum()) / frames
        if main_face == "largest":
            first = area
        elif main_face == "center":
            away = np.linalg.norm(_centers(boxes) - middle, axis=1)
            first = float(np.maximum(0.0, 1.0 - away / reach).sum()) / frames
        else:
            first = float(len(track.frames))
        return (first, area, -track.track_id)

    return max(tracks, key=merit)


def of_person(tracks: Sequence[Track], person: str, width: int) -> list[Track]:
    """Return the tracks that may be the `left` or the `right` of two people in the image.

    Tracks that are seen in less than half as many frames as the longest one do not count. Of
    several, the outermost on that side; a single one must lie in that half of the image.

    Args:
        width: of the image in pixels.
    """
    longest = max((len(track.frames) for track in tracks), default=0)
    place = {
        track.track_id: float(_centers(np.stack(track.boxes))[:, 0].mean())
        for track in tracks
        if 2 * len(track.frames) >= longest
    }
    if not place:
        return []
    end = (min if person == "left" else max)(place, key=lambda number: place[number])
    if len(place) == 1 and (place[end] < width / 2) != (person == "left"):
        return []
    return [track for track in tracks if track.track_id == end]


def iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Return intersection over union of boxes `[n, 4]` and `[m, 4]` (xyxy): `[n, m]`."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0.0), axis=2)
    either = _areas(a)[:, None] + _areas(b)[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def _assign(tracks: Sequence[Track], found: Boxes, min_iou: float) -> dict[int, Track]:
    """Return the track that each matched detection continues."""
    if not tracks:
        return {}
    # imported here: a run without new clips links nothing
    from scipy.optimize import linear_sum_assignment

    last = np.stack([track.boxes[-1] for track in tracks]).astype(np.float64)
    now = found.astype(np.float64)
    overlap = iou(last, now)
    side = np.sqrt(np.maximum(_areas(last), 1e-9))[:, None]
    other = np.sqrt(np.maximum(_areas(now), 1e-9))[None, :]
    step = np.linalg.norm(_centers(last)[:, None] - _centers(now)[None], axis=2)
    step /= np.minimum(side, other)
    growth = np.maximum(side / other, other / side) ** 2
    near = (step <= MAX_STEP) & (growth <= MAX_GROWTH)
    allowed = (overlap >= min_iou) | near
    # any overlap beats none; among none, the nearest wins
    gain = np.where(allowed, 1.0 + overlap + np.maximum(0.0, 1.0 - step / MAX_STEP), 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {column: tracks[row] for row, column in pairs if allowed[row, column]}


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float64)


def _centers(boxes: Boxes) -> NDArray[np.float64]:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, dtype=np.float64)
