"""Which stills are not learned from, because they show the target data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arpgnet.pipeline.stills.crops import Crop, pixels
from arpgnet.pipeline.stills.stills import Still
from arpgnet.pipeline.stills.target import (
    MIN_CORRELATION,
    SAME_FACE,
    SAME_FILE,
    SAME_IMAGE,
    SAME_PERSON,
    SIDE,
    Target,
    thumbnail,
)


def refusals(stills: Sequence[Still], crops: Sequence[Crop], target: Target) -> list[str | None]:
    """Return why each still is left out, or None."""
    reasons = [crop.reason for crop in crops]
    for row, (still, crop) in enumerate(zip(stills, crops, strict=True)):
        if crop.sha256 in target.sums:
            reasons[row] = SAME_FILE
        elif still.subject in target.people:
            reasons[row] = reasons[row] or SAME_PERSON
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    if rows:
        small = b"".join(crops[row].thumbnail or b"" for row in rows)
        images = target.images(np.frombuffer(small, np.uint8).reshape(-1, SIDE, SIDE))
        faces = target.faces(np.stack([thumbnail(pixels(crops[row])) for row in rows]))
        for row, image, face in zip(rows, images, faces, strict=True):
            if max(image, face) >= MIN_CORRELATION:
                reasons[row] = SAME_IMAGE if image >= MIN_CORRELATION else SAME_FACE
    return reasons
