"""A frame with its faces, and its rows in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arpgnet.pipeline.geometry.alignment import context
from arpgnet.pipeline.predict.faces import Face
from arpgnet.pipeline.predict.features import Networks
from arpgnet.pipeline.predict.output import Regions, Row
from arpgnet.pipeline.predict.windows import Scored


@dataclass(frozen=True)
class Frame:
    """A frame with all detected faces, and the landmarks [P, 2] of each, if requested.

    `scale` is pixels of the video for one of the image that the faces were found in.
    """

    index: int
    time_s: float
    faces: list[Face]
    points: list[np.ndarray | None]
    scale: float

    def rows(
        self,
        scored: Callable[[int], Scored | None],
        *,
        only_scored: bool = False,
        regions: Callable[[int], Regions | None] = lambda face: None,
    ) -> Iterator[Row]:
        """Yield a row per identified face, in the order of their numbers; else one without a face.

        Args:
            scored: a face's result, by its number.
            only_scored: leave out faces without a result.
            regions: what the network attends to in a face.
        """
        empty = True
        pairs = zip(self.faces, self.points, strict=True)
        for face, points in sorted(pairs, key=lambda pair: pair[0].tracklet.face or 0):
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
