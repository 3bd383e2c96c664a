"""Every face of every frame, with an identity that persists through the video.

Boxes that overlap from one frame to the next are one face: a tracklet. It ends when it is not found
in a frame, and when it separates from another face that it has touched, because there overlap is no
evidence. Its embeddings then decide who it is: the most similar known person who is not in the
image already, else a new one. A half-occluded face resembles nobody, so a few frames do not make a
new person while a known one is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from arpgnet.pipeline.geometry.alignment import CROP_PX, similarity, warp
from arpgnet.pipeline.geometry.tracks import iou
from arpgnet.pipeline.networks.detector import Detections

Describe = Callable[[np.ndarray], np.ndarray]

# embeddings of a tracklet that decide who it is: the latest of its first frames, then of every
# third one, for up to WAITING frames while it resembles nobody
DECIDING = 3
WAITING = 12
# after that, one in so many frames updates the person's mean
REMEMBERED_EVERY = 12
# a person's mean follows slowly after so many embeddings
MEMORY = 50
# short views of unknown people that a later one is compared with
PASSING = 20
# boxes that overlap by more touch
CONTACT_IOU = 0.05
# Cosine that makes two faces one person's; less where that person was within `NEAR_S`, within a
# box's side. MobileFaceNet, means of 8 frames of 38 clips of 10 people: one person's at least 0.74,
# two people's at most 0.49; single frames of one clip at least 0.21, in the median 0.87
SAME = 0.50
SAME_NEAR = 0.30
NEAR_S = 2.0


@dataclass(eq=False)
class Person:
    """An identity: the mean of its unit embeddings, and its last position."""

    number: int
    mean: np.ndarray
    weight: int
    box: np.ndarray
    time_s: float
    index: int

    def learn(self, embedding: np.ndarray) -> None:
        self.weight = min(self.weight + 1, MEMORY)
        self.mean = self.mean + (embedding - self.mean) / self.weight


@dataclass(eq=False)
class Tracklet:
    """A face in consecutive frames."""

    first: int
    start_s: float
    start_box: np.ndarray
    box: np.ndarray
    last: int
    length: int = 0
    touched: bool = False
    embeddings: list[np.ndarray] = field(default_factory=list)
    decided: bool = False
    person: Person | None = None

    @property
    def face(self) -> int | None:
        """The identity's number, from 0; None while it is undecided, and for noise."""
        return None if self.person is None else self.person.number


@dataclass(frozen=True)
class Face:
    """A face in a frame: box x1 y1 x2 y2 and five points in pixels, the detector's score."""

    tracklet: Tracklet
    box: np.ndarray
    score: float
    kps: np.ndarray


class Identities:
    """Assigns identities to the faces of successive frames; of the past it keeps only the people.

    Args:
        describe: aligned crops uint8 [n, S, S, 3] -> embeddings [n, D].
        min_iou: overlap from frame to frame that makes two boxes one face.
        crop_px: S.
    """

    def __init__(self, describe: Describe, min_iou: float, crop_px: int = CROP_PX) -> None:
        self._describe = describe
        self._crop_px = crop_px
        self._min_iou = min_iou
        self._live: list[Tracklet] = []
        self.people: list[Person] = []
        self._passing: deque[Tracklet] = deque(maxlen=PASSING)

    def step(self, index: int, time_s: float, image: np.ndarray, found: Detections) -> list[Face]:
        """Process the next frame's faces. Their identities are known after `WAITING` more frames,
        and after `resolve`."""
        before = self._live
        pairs = _pairs(before, found.boxes, self._min_iou)
        touching = _touching(found.boxes)
        self._live, faces = [], []
        for number, box in enumerate(found.boxes):
            tracklet = pairs.get(number)
            if tracklet is not None and tracklet.touched and not touching[number]:
                tracklet = None
            if tracklet is None:
                tracklet = Tracklet(index, time_s, box, box, index)
            tracklet.box, tracklet.last = box, index
            tracklet.touched = tracklet.touched or bool(touching[number])
            self._live.append(tracklet)
            faces.append(Face(tracklet, box, float(found.scores[number]), found.kps[number]))
        self._decide([one for one in before if one not in self._live], over=True)
        self._look(image, faces, time_s)
        self._decide([one for one in self._live if one.length >= DECIDING])
        return faces

    def resolve(self) -> None:
        """Decide all open identities at the end of the video."""
        self._decide(self._live, over=True)
        if not self.people and self._passing:
            self._new_identity(self._passing[0])

    def _look(self, image: np.ndarray, faces: Sequence[Face], time_s: float) -> None:
        """Compute the embeddings that are due, and note everybody's position."""
        for face in faces:
            tracklet = face.tracklet
            tracklet.length += 1
            clear = not tracklet.touched
            often = DECIDING if not tracklet.decided else REMEMBERED_EVERY
            due = tracklet.length <= DECIDING or (clear and tracklet.length % often == 0)
            matrix = similarity(face.kps) if due else None
            if matrix is not None:
                embedding = _unit(self._describe(warp(image, matrix, self._crop_px)[None])[0])
                if tracklet.decided and tracklet.person is not None:
                    tracklet.person.learn(embedding)
                elif not tracklet.decided:
                    tracklet.embeddings = [*tracklet.embeddings, embedding][-DECIDING:]
            if tracklet.person is not None:
                _note(tracklet.person, tracklet, time_s)

    def _decide(self, tracklets: Sequence[Tracklet], *, over: bool = False) -> None:
        """Decide who some tracklets are, the most similar pairs first."""
        open_ = [one for one in tracklets if not one.decided]
        while open_:
            matches = [
                (score, one, person)
                for one in open_
                for person in self.people
                if (score := self._likeness(one, person)) is not None
            ]
            if not matches:
                break
            _, one, person = max(matches, key=lambda item: item[0])
            self._resolve_as(one, person)
            open_ = [other for other in open_ if other is not one]
        for one in open_:
            missing = [person for person in self.people if person.index < one.first]
            if missing and not over and one.length < WAITING:
                continue
            one.decided = True
            if not one.embeddings:
                continue
            # a short view, or an unclear one near somebody's last position, is not a new person
            known = [person for person in missing if _was_near(one, person)]
            if one.length >= (WAITING if known else DECIDING):
                self._new_identity(one)
            elif match := self._same_person(one):
                # frames so far apart that no two overlap
                self._resolve_as(match, self._new_identity(one))
            else:
                self._passing.append(one)

    def _new_identity(self, one: Tracklet) -> Person:
        """Add a new person."""
        mean = np.mean(one.embeddings, axis=0)
        person = Person(len(self.people), mean, 0, one.box, one.start_s, one.last)
        self.people.append(person)
        self._resolve_as(one, person)
        return person

    def _same_person(self, one: Tracklet) -> Tracklet | None:
        """Find a short view of the same person a few frames ago: noise returns later, if at all."""
        mean = _unit(np.mean(one.embeddings, axis=0))
        for other in self._passing:
            # who has become a person since has given the embeddings to that one
            if other.person is not None or not 0 < one.first - other.last <= DECIDING:
                continue
            if float(mean @ _unit(np.mean(other.embeddings, axis=0))) >= SAME:
                return other
        return None

    def _resolve_as(self, one: Tracklet, person: Person) -> None:
        one.decided, one.person = True, person
        for embedding in one.embeddings:
            person.learn(embedding)
        one.embeddings = []
        if one.last >= person.index:
            person.box, person.index = one.box, one.last

    def _likeness(self, one: Tracklet, person: Person) -> float | None:
        """Compute the cosine to a person; None if it cannot be that person."""
        if person.index >= one.first or not one.embeddings:
            return None
        mean = np.mean(one.embeddings, axis=0)
        score = float(_unit(mean) @ _unit(person.mean))
        return score if score >= (SAME_NEAR if _was_near(one, person) else SAME) else None


def _was_near(one: Tracklet, person: Person) -> bool:
    """Tell whether a person was last seen shortly before, next to where a tracklet started."""
    return one.start_s - person.time_s <= NEAR_S and _beside(one.start_box, person.box)


def _note(person: Person, tracklet: Tracklet, time_s: float) -> None:
    person.box, person.time_s = tracklet.box, time_s
    person.index = max(person.index, tracklet.last)


def _pairs(before: Sequence[Tracklet], boxes: np.ndarray, min_iou: float) -> dict[int, Tracklet]:
    """Match each box to the tracklet that it continues, the largest overlaps first."""
    if not before or not len(boxes):
        return {}
    overlap = iou(np.stack([one.box for one in before]), boxes)
    return {column: before[row] for row, column in largest_first(overlap, min_iou)}


def largest_first(overlap: np.ndarray, least: float) -> Iterator[tuple[int, int]]:
    """Match rows to columns, each once: the largest overlap first, down to `least`.

    Args:
        overlap: [n, m], n and m at least 1.
    """
    left = overlap.copy()
    while left.max() >= least:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        yield int(row), int(column)
        left[row], left[:, column] = -1.0, -1.0


def _touching(boxes: np.ndarray) -> np.ndarray:
    """Tell which boxes overlap another one: bool [n]."""
    overlap = iou(boxes, boxes)
    np.fill_diagonal(overlap, 0.0)
    return np.asarray((overlap > CONTACT_IOU).any(axis=1))


def _beside(box: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two boxes' centers are less than a side apart."""
    step = np.abs((box[:2] + box[2:]) - (other[:2] + other[2:])) / 2
    return bool(step.max() <= max(other[2] - other[0], other[3] - other[1]))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-9))
