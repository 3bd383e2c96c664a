"""A frame with its faces, and its rows in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.geometry.alignment import context, similarity
from arpgnet.pipeline.geometry.pose import HeadPose, head_pose
from arpgnet.pipeline.geometry.quality import face_quality, face_window
from arpgnet.pipeline.predict.faces import Face
from arpgnet.pipeline.predict.features import Networks
from arpgnet.pipeline.predict.rows import Regions, Row
from arpgnet.pipeline.predict.windows import Scored


@dataclass(frozen=True)
class Frame:
    """A frame with all detected faces.

    Attributes:
        points: the landmarks [P, 2] of each face, if requested.
        windows: what is measured of each face's image; None where its key points give no crop.
        sides: width and height of the image that the faces were found in.
        scale: pixels of the video for one of that image.
        scheme: of the landmarks.
    """

    index: int
    time_s: float
    faces: list[Face]
    points: list[np.ndarray | None]
    windows: list[np.ndarray | None]
    sides: tuple[int, int]
    scale: float
    scheme: str

    @classmethod
    def measure(
        cls,
        networks: Networks,
        index: int,
        time_s: float,
        image: np.ndarray,
        faces: list[Face],
        *,
        points: bool,
        scale: float,
    ) -> Frame:
        """Return a frame with what can be seen of its faces in the image.

        Args:
            points: whether to locate landmarks.
        """
        found: list[np.ndarray | None] = [None] * len(faces)
        if points:
            found = landmarks(networks, image, faces)
        height, width = image.shape[:2]
        return cls(
            index,
            time_s,
            faces,
            found,
            [_window(image, face) for face in faces],
            (width, height),
            scale,
            networks.landmarks.scheme.name,
        )

    def rows(
        self,
        scored: Callable[[int], Scored | None],
        *,
        outputs: int | None = None,
        only_scored: bool = False,
        regions: Callable[[int], Regions | None] = lambda face: None,
        pose: Callable[[int], HeadPose | None] = lambda face: None,
    ) -> Iterator[Row]:
        """Yield a row per identified face, in the order of their numbers; else one without a face.

        Args:
            scored: a face's result, by its number.
            outputs: K, after which its values are those of further tasks; None: there are none.
            only_scored: leave out faces without a result.
            regions: what the network attends to in a face.
            pose: a face's pose where its landmarks are not known.

        Pose and quality are measured here, for many frames one after another: between two
        networks, whose code and data fill the processor's caches, they take three times as long.
        """
        empty = True
        each = zip(self.faces, self.points, self.windows, strict=True)
        for face, points, window in sorted(each, key=lambda found: found[0].tracklet.face or 0):
            number = face.tracklet.face
            if number is None:
                continue
            known = scored(number)
            if known is None and only_scored:
                continue
            empty = False
            yield Row(
                self.index,
                self.time_s,
                number,
                face.box * self.scale,
                face.score,
                None if known is None else known.probabilities[:outputs],
                0.0 if known is None else known.coverage,
                None if points is None else points * self.scale,
                regions(number),
                pose(number) if points is None else head_pose(points, self.scheme, *self.sides),
                None if window is None else face_quality(window, face.box, face.kps, self.scale),
                further=None if known is None or outputs is None else known.probabilities[outputs:],
            )
        if empty:
            yield Row(self.index, self.time_s)


def landmarks(
    networks: Networks, image: np.ndarray, faces: Sequence[Face]
) -> list[np.ndarray | None]:
    """Locate the landmarks [P, 2] of each face, in pixels of the image."""
    if not faces:
        return []
    boxes = np.stack([face.box for face in faces])
    around = np.stack([context(image, box) for box in boxes])
    return list(networks.landmarks.locate(around, boxes))


def _window(image: np.ndarray, face: Face) -> np.ndarray | None:
    matrix = similarity(face.kps)
    return None if matrix is None else face_window(image, matrix)
