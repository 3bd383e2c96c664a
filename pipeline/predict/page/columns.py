"""A table's rows as arrays that a script can read: base64 of little-endian numbers."""

from __future__ import annotations

import base64
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arpgnet.pipeline.predict.formats import angles, quality
from arpgnet.pipeline.predict.rows import Regions, Row, TableHeader

# fractions are stored in steps of 1 / 65534; the highest number means that there is none
STEPS = 65534
NONE = 65535


def packed(values: np.ndarray, kind: str) -> str:
    """Encode an array in base64, row by row, as `kind` (a NumPy type)."""
    little = values.astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def packed_shares(values: np.ndarray) -> str:
    """Encode values from 0 to 1, or NaN, as uint16."""
    known = np.nan_to_num(np.clip(values, 0, 1))
    return packed(np.where(np.isnan(values), NONE, np.round(STEPS * known)), "u2")


@dataclass
class Face:
    """A face's rows, number after number."""

    frames: array[int] = field(default_factory=lambda: array("I"))
    boxes: array[float] = field(default_factory=lambda: array("f"))
    confidence: array[float] = field(default_factory=lambda: array("f"))
    coverage: array[float] = field(default_factory=lambda: array("f"))
    # of each task
    shares: list[array[float]] = field(default_factory=list)
    points: array[float] = field(default_factory=lambda: array("f"))
    angles: array[float] = field(default_factory=lambda: array("f"))
    quality: array[float] = field(default_factory=lambda: array("f"))
    # which of `regions` a row has; NO_REGIONS: none
    look: array[int] = field(default_factory=lambda: array("I"))
    where: array[float] = field(default_factory=lambda: array("f"))
    times_uniform: array[float] = field(default_factory=lambda: array("f"))
    latest: Regions | None = None
    looks: int = 0


NO_REGIONS = 2**32 - 1


class Columns:
    """Rows of a video, gathered for its page.

    Args:
        head: what holds for all rows; the values of each task are stored as fractions of its scale.
        width, height: of the image that the rows' pixels belong to.
    """

    def __init__(self, head: TableHeader, width: int, height: int) -> None:
        self._head = head
        self._unseen = np.full((head.points, 2), np.nan)
        self._sides = np.array([width, height, width, height])
        self._times = array("d")
        self._last = -1
        self._faces: dict[int, Face] = {}

    def add(self, row: Row) -> None:
        """Add the next row; frames without a face count too."""
        if row.frame != self._last:
            self._times.append(row.time_s)
            self._last = row.frame
        if row.box is not None:
            fresh = Face(shares=[array("f") for _ in self._head.tasks])
            self._add(self._faces.setdefault(row.face_id, fresh), row, row.box)

    def _add(self, face: Face, row: Row, box: np.ndarray) -> None:
        face.frames.append(row.frame)
        face.boxes.extend((box / self._sides).tolist())
        face.confidence.append(row.confidence)
        face.coverage.append(row.coverage)
        for shares, (display, found) in zip(face.shares, self._head.values(row), strict=True):
            values = np.full(len(display.names), np.nan) if found is None else found
            shares.extend(display.shares(values).tolist())
        points = self._unseen if row.points is None else row.points / self._sides[:2]
        face.points.extend(points.ravel().tolist())
        face.angles.extend(angles(row).values())
        face.quality.append(quality(row)["quality"])
        # one of many rows, until the next frame that was shown to the network is nearer
        if row.regions is not None and row.regions is not face.latest:
            face.latest = row.regions
            face.looks += 1
            face.where.extend(row.regions.where.ravel().tolist())
            face.times_uniform.extend(row.regions.times_uniform.tolist())
        face.look.append(NO_REGIONS if row.regions is None else face.looks - 1)

    @property
    def frames(self) -> int:
        return len(self._times)

    def as_json(self) -> dict[str, Any]:
        """Return times in seconds [n], and the arrays of each `Face`."""
        return {
            "times": packed(np.array(self._times), "f4"),
            "faces": [
                {
                    "id": number,
                    "frames": packed(np.array(face.frames), "u4"),
                    "boxes": packed(np.array(face.boxes), "f4"),
                    "confidence": packed_shares(np.array(face.confidence)),
                    "coverage": packed_shares(np.array(face.coverage)),
                    "shares": [packed_shares(np.array(shares)) for shares in face.shares],
                    "points": packed_shares(_within(np.array(face.points))),
                    "angles": packed(np.array(face.angles), "f4"),
                    "quality": packed_shares(np.array(face.quality)),
                    "look": packed(np.array(face.look), "u4"),
                    "where": packed(np.array(face.where), "f4"),
                    "timesUniform": packed(np.array(face.times_uniform), "f4"),
                }
                for number, face in sorted(self._faces.items())
            ],
        }


def _within(shares: np.ndarray) -> np.ndarray:
    """Return points as fractions of the image; unknown outside of it."""
    points = shares.reshape(-1, 2)
    inside = np.logical_and(points >= 0, points <= 1).all(axis=1, keepdims=True)
    return np.where(inside, points, np.nan)
