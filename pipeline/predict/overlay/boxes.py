"""Draw faces on the image: box, landmarks, id and what is predicted."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.overlay.marks import (
    BLACK,
    BOLD,
    GROUND,
    WHITE,
    Color,
    Sizes,
    color_of,
    on,
    put,
    shortened,
    text_width,
)
from arpgnet.pipeline.predict.rows import Row

# a face in fewer of the classified frames is uncertain: its box is dashed and thinner
CONFIDENT_COVERAGE = 0.5
# a dash and a gap of so many line widths
DASH = 4
# sides of a face, in pixels, for one pixel of its line, and of a dot's radius: it stays visible
LINE_SHARE = 40
DOT_SHARE = 160
# a thinner line has no color in 4:2:0
THINNEST = 2
# landmarks of a smaller face would cover it
LEAST_POINTS_PX = 80
# a dot's dark edge, as a multiple of its radius, and the binary places of its position
DOT_EDGE = 1.6
DOT_BITS = 4

Rectangle = tuple[int, int, int, int]


def confident(row: Row) -> bool:
    return row.probabilities is not None and row.coverage >= CONFIDENT_COVERAGE


def draw_faces(image: np.ndarray, rows: Sequence[Row], display: Display, size: Sizes) -> None:
    """Draw a frame's faces on its image; labels last, so that no box crosses one."""
    faces = [row for row in rows if row.box is not None]
    for row in faces:
        _draw_box(image, row, size)
        _draw_points(image, row, size)
    taken: list[Rectangle] = []
    for row in faces:
        taken.append(_draw_label(image, row, display, size, taken))


def draw_note(image: np.ndarray, text: str, size: Sizes) -> None:
    """Write a line into the image's lower left corner, on a ground that keeps it readable."""
    height, width = image.shape[:2]
    shown = shortened(text, size.text, width - size.text)
    right = text_width(shown, size.text) + size.text
    cv2.rectangle(image, (0, height - size.row), (right, height), GROUND, -1)
    put(image, shown, (size.text // 2, height - size.row // 4), size.text, WHITE)


def _corners(row: Row) -> Rectangle:
    assert row.box is not None
    left, top, right, bottom = (round(float(value)) for value in row.box)
    return left, top, right, bottom


def _draw_box(image: np.ndarray, row: Row, size: Sizes) -> None:
    left, top, right, bottom = _corners(row)
    color = color_of(row.face_id)
    solid = min(size.line, max(THINNEST, round(_side(row) / LINE_SHARE)))
    if confident(row):
        # a dark edge on both sides keeps it visible on a background of its own color
        cv2.rectangle(image, (left, top), (right, bottom), BLACK, solid + 2)
        cv2.rectangle(image, (left, top), (right, bottom), color, solid)
        return
    line = max(THINNEST, solid // 2)
    for begin, end in (
        ((left, top), (right, top)), ((right, top), (right, bottom)),
        ((right, bottom), (left, bottom)), ((left, bottom), (left, top)),
    ):  # fmt: skip
        for width, own in ((line + 2, BLACK), (line, color)):
            _dashed(image, np.array(begin), np.array(end), own, width, DASH * solid)


def _dashed(
    image: np.ndarray, begin: np.ndarray, end: np.ndarray, color: Color, width: int, dash: int
) -> None:
    """Dashes from corner to corner; the first and the last one stand at the corners."""
    length = int(np.abs(end - begin).max())
    count = max(1, round(length / dash / 2)) * 2 + 1
    stops = [
        np.round(begin + (end - begin) * part / count).astype(int) for part in range(count + 1)
    ]
    for first in range(0, count, 2):
        one, other = stops[first].tolist(), stops[first + 1].tolist()
        cv2.line(image, one, other, color, width)


def _side(row: Row) -> float:
    assert row.box is not None
    return float((row.box[2:] - row.box[:2]).max())


def _draw_points(image: np.ndarray, row: Row, size: Sizes) -> None:
    if row.points is None or row.box is None or _side(row) < LEAST_POINTS_PX:
        return
    radius = min(size.line / 2, _side(row) / DOT_SHARE)
    points = row.points[np.isfinite(row.points).all(axis=1)]
    for own, color in ((DOT_EDGE * radius, BLACK), (radius, color_of(row.face_id))):
        for x, y in np.round(points * 2**DOT_BITS).astype(int).tolist():
            far = round(own * 2**DOT_BITS)
            cv2.circle(image, (x, y), far, color, cv2.FILLED, cv2.LINE_AA, DOT_BITS)


def _draw_label(
    image: np.ndarray,
    row: Row,
    display: Display,
    size: Sizes,
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Draw a label above the box, else below it or at its upper edge, clear of other labels."""
    height, width = image.shape[:2]
    left, top, _, bottom = _corners(row)
    pad = max(3, size.text // 4)
    words = f"{row.face_id}  {display.words(row.probabilities)}".strip()
    text = shortened(words, size.text, width - 2 * pad, BOLD)
    wide, high = text_width(text, size.text, BOLD) + 2 * pad, size.row
    x = min(max(0, left - size.line // 2), max(0, width - wide))
    y = top - high - size.line // 2
    if y < 0 and bottom + size.line + high <= height:
        y = bottom + size.line
    y = min(max(0, y), max(0, height - high))
    while (
        any(_intersect((x, y, x + wide, y + high), other) for other in taken)
        and y + 2 * high < height
    ):
        y += high
    color = color_of(row.face_id)
    cv2.rectangle(image, (x, y), (x + wide - 1, y + high - 1), color, cv2.FILLED)
    put(image, text, (x + pad, y + high - round(0.4 * size.text)), size.text, on(color), BOLD)
    return x, y, x + wide, y + high


def _intersect(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
