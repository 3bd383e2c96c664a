"""The 106-point order of InsightFace's `2d106det`, by anatomical part.

Image-left is the subject's right. Each tuple runs in drawing order, so that `points[CONTOUR]` is a
polyline from the image-left ear over the chin to the image-right ear.
"""

from __future__ import annotations

POINT_COUNT = 106

CONTOUR = (
    *(1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0),
    *(24, 23, 22, 21, 20, 19, 18, 32, 31, 30, 29, 28, 27, 26, 25, 17),
)
# (image-left, image-right), mirror images in the same place
BROW_UPPER = ((43, 48, 49, 51, 50), (101, 105, 104, 103, 102))  # from the outer tip inwards
BROW_LOWER = ((44, 45, 47, 46), (100, 99, 98, 97))  # without the tip
EYE_OUTER, EYE_INNER = (35, 93), (39, 89)
EYE_UPPER = ((41, 40, 42), (96, 94, 95))  # from the outer corner inwards
EYE_LOWER = ((36, 33, 37), (91, 87, 90))
PUPIL, EYE_CENTER = (34, 88), (38, 92)
NOSE_BRIDGE = (72, 73, 74, 86)  # root to tip
NOSE_SIDE = ((75, 76, 77), (81, 82, 83))  # bridge flank, upper wing, wing
NOSE_BASE = ((78, 79), (84, 85))  # wing base, nostril
NOSE_BOTTOM = 80
LIP_OUTER_UPPER = (52, 64, 63, 71, 67, 68, 61)  # image-left corner to image-right corner
LIP_OUTER_LOWER = (55, 56, 53, 59, 58)  # between the corners, image-left to image-right
LIP_INNER_UPPER = (65, 66, 62, 70, 69)
LIP_INNER_LOWER = (54, 60, 57)


def mirror_order() -> list[int]:
    """Each point's mirror image: after x -> width - 1 - x, take `points[mirror_order()]`."""
    pairs = [
        *zip(CONTOUR, CONTOUR[::-1], strict=True),
        *zip(EYE_OUTER, EYE_OUTER[::-1], strict=True),
        *zip(EYE_INNER, EYE_INNER[::-1], strict=True),
        *zip(PUPIL, PUPIL[::-1], strict=True),
        *zip(EYE_CENTER, EYE_CENTER[::-1], strict=True),
        *((point, point) for point in (*NOSE_BRIDGE, NOSE_BOTTOM)),
    ]
    for left, right in (BROW_UPPER, BROW_LOWER, EYE_UPPER, EYE_LOWER, NOSE_SIDE, NOSE_BASE):
        pairs += [*zip(left, right, strict=True), *zip(right, left, strict=True)]
    for row in (LIP_OUTER_UPPER, LIP_OUTER_LOWER, LIP_INNER_UPPER, LIP_INNER_LOWER):
        pairs += zip(row, row[::-1], strict=True)
    order = [-1] * POINT_COUNT
    for point, mirrored in pairs:
        order[point] = mirrored
    return order
