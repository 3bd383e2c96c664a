"""A frame with its faces, and its rows in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.geometry.alignment import context, similarity
from arpgnet.pipeline.geometry.pose import HeadPose, head_pose
from arpgnet.pipeline.geometry.quality import Quality, face_quality
from arpgnet.pipeline.predict.faces import Face
from arpgnet.pipeline.predict.features import Networks
from arpgnet.pipeline.predict.output import Regions, Row
from arpgnet.pipeline.predict.windows import Scored


@dataclass(frozen=True)
class Frame:
    """A frame with all detected faces.

    Attributes:
        points: the landmarks [P, 2] of each face, if requested; `poses` is measured from them.
        qualities: of each face; None where its key points give no crop.
        scale: pixels of the video for one of the image that the faces were found in.
    """

    index: int
    time_s: float
    faces: list[Face]
    points: list[np.ndarray | None]
    poses: list[HeadPose | None]
    qualities: list[Quality | None]
    scale: float

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
        scheme, (height, width) = networks.landmarks.scheme.name, image.shape[:2]
        return cls(
            index,
            time_s,
            faces,
            found,
            [None if one is None else head_pose(one, scheme, width, height) for one in found],
            [_quality(image, face, scale) for face in faces],
            scale,
        )

    def rows(
        self,
        scored: Callable[[int], Scored | None],
        *,
        only_scored: bool = False,
        regions: Callable[[int], Regions | None] = lambda face: None,
        pose: Callable[[int], HeadPose | None] = lambda face: None,
    ) -> Iterator[Row]:
        """Yield a row per identified face, in the order of their numbers; else one without a face.

        Args:
            scored: a face's result, by its number.
            only_scored: leave out faces without a result.
            regions: what the network attends to in a face.
            pose: a face's pose where it was not measured in this frame.
        """
        empty = True
        each = zip(self.faces, self.points, self.poses, self.qualities, strict=True)
        for face, points, measured, quality in sorted(
            each, key=lambda found: found[0].tracklet.face or 0
        ):
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
                None if known is None else known.probabilities,
                0.0 if known is None else known.coverage,
                None if points is None else points * self.scale,
                regions(number),
                measured or pose(number),
                quality,
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


def _quality(image: np.ndarray, face: Face, scale: float) -> Quality | None:
    matrix = similarity(face.kps)
    if matrix is None:
        return None
    return face_quality(image, matrix, face.box, face.kps, scale)
