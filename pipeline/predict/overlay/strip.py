"""What was predicted in the last seconds, a panel for each face, below the image.

Each output of the main task has a line of its own with its name beside it, so that no color has
to be looked up: the value is the height of the filled curve, from 0 to 1 or what else the scale is;
the right end of it is now. Further tasks have a line of text with what is predicted now: with a
plot of each the strip would be higher than the image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from arpgnet.pipeline.predict.overlay.marks import (
    BOLD,
    FAINT,
    GRAY,
    GROUND,
    REGULAR,
    WHITE,
    Color,
    Sizes,
    color_of,
    mixed,
    on,
    put,
    shortened,
    text_width,
)
from arpgnet.pipeline.predict.rows import Row, TableHeader

SPAN_S = 8.0
# more classes would be higher than the image: the most likely ones are shown; of action units the
# 12 that are coded most often
MAX_CLASSES, MAX_UNITS = 8, 12
# a name, a curve and a number need so many text sizes side by side
PANEL_TEXTS = 14
NAME_TEXTS = 5.5
# what a unit's number stands for has space beside it from this width on
LONG_PANEL_TEXTS, LONG_NAME_TEXTS = 34, 14
# a face that was away so long is drawn as a gap; less is one frame missed at 4 frames per second
GAP_S = 0.5
# a line is so many rows high where the scale has two sides
SIGNED_ROWS = 2
# opacity of the face's color for what is not predicted
OTHERS = 0.65


@dataclass
class _Past:
    """A face's last `SPAN_S` seconds: times, and what was predicted at them, [K]."""

    times: deque[float] = field(default_factory=deque)
    values: deque[np.ndarray] = field(default_factory=deque)
    last: Row | None = None

    def forget(self, before: float) -> None:
        while self.times and self.times[0] < before:
            self.times.popleft()
            self.values.popleft()


class Strip:
    """Draws the strip of each frame in turn; it keeps only the last seconds.

    Args:
        head: what holds for all rows.
        width: of the image.
        size: of text and lines.
        legends: what the colors of the faces are, longest form first; the first that fits has a
            line below.
    """

    def __init__(
        self, head: TableHeader, width: int, size: Sizes, legends: Sequence[str] = ()
    ) -> None:
        display = head.display
        self._head, self._display, self._width, self._size = head, display, width, size
        self._past: dict[int, _Past] = {}
        # which face stands in which panel; a face keeps its own
        self._panels: dict[int, int] = {}
        most = MAX_CLASSES if display.of_classes else MAX_UNITS
        self.lines = min(len(display.names), most)
        # height of a line, in rows of text
        self._rows = SIGNED_ROWS if display.range[0] < 0 else 1
        self._above = size.text // 3
        fitting = (text for text in legends if text_width(text, size.text) <= width - size.text)
        self._legend = next(fitting, legends[-1] if legends else "")
        # a line for the face, and perhaps one for further tasks
        self._first = 2 if head.also else 1
        # and one for the time
        self._lines = self._first + self.lines * self._rows + 1
        self.height = self._above + (self._lines + bool(self._legend)) * size.row
        self._most = max(1, width // (PANEL_TEXTS * size.text))

    def draw(self, time_s: float, rows: Sequence[Row], *, legend: bool = False) -> np.ndarray:
        """The strip [height, width, 3] at the time of a frame, with the frame's rows; with its
        legend if one of the faces is colored."""
        self._learn(time_s, rows)
        strip = np.full((self.height, self._width, 3), GROUND, np.uint8)
        canvas = strip[self._above :]
        here = {row.face_id for row in rows if row.box is not None}
        shown = {face: panel for face, panel in self._panels.items() if panel < self._most}
        count = max(shown.values(), default=0) + 1
        if not shown:
            self._put(canvas, "no face", self._size.text // 2, 0, GRAY)
        for face, panel in shown.items():
            left, right = (self._width * edge // count for edge in (panel, panel + 1))
            # a view: the panel is drawn in its place
            self._draw_panel(canvas[:, left:right], face, time_s, face in here)
        if more := len(self._panels) - len(shown):
            text = f"+{more}"
            x = self._width - text_width(text, self._size.text, BOLD) - self._size.text // 2
            self._put(canvas, text, x, 0, WHITE, BOLD)
        if legend:
            self._put(canvas, self._legend, self._size.text // 2, self._lines, GRAY)
        return strip

    def _learn(self, time_s: float, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.box is None:
                continue
            past = self._past.setdefault(row.face_id, _Past())
            past.last = row
            # a face without a result leaves a gap
            if row.probabilities is not None:
                past.times.append(time_s)
                past.values.append(row.probabilities)
        seen = {row.face_id for row in rows}
        for face, past in list(self._past.items()):
            past.forget(time_s - SPAN_S)
            if not past.times and face not in seen:
                del self._past[face]
                self._panels.pop(face, None)
        for face in self._past:
            if face not in self._panels:
                free = set(range(len(self._panels) + 1)) - set(self._panels.values())
                self._panels[face] = min(free)

    def _draw_panel(self, canvas: np.ndarray, face: int, time_s: float, here: bool) -> None:
        size, past = self._size, self._past[face]
        color, pad = color_of(face), size.text // 2
        width = canvas.shape[1]
        name = f" {face} "
        chip = text_width(name, size.text, BOLD)
        cv2.rectangle(canvas, (pad, 1), (pad + chip, size.row - 2), color, cv2.FILLED)
        self._put(canvas, name, pad, 0, on(color), BOLD)
        assert past.last is not None
        words = self._display.words(past.last.probabilities)
        text = words if here else "not in the image"
        space = width - chip - 3 * pad
        text = shortened(text, size.text, space, BOLD)
        self._put(canvas, text, 2 * pad + chip, 0, WHITE if here else GRAY, BOLD)
        if here and self._head.also:
            self._put(canvas, self._further(past.last, width - 2 * pad), pad, 1, WHITE)

        shown = self._shown(past)
        wide = width >= LONG_PANEL_TEXTS * size.text
        names = self._display.long if wide else self._display.short
        space = round((LONG_NAME_TEXTS if names != self._display.short else NAME_TEXTS) * size.text)
        longest = max((text_width(names[one], size.text, BOLD) for one in shown), default=0)
        left = 2 * pad + min(space, longest)
        right = width - pad - text_width(self._display.number(0), size.text, BOLD) - pad
        for line, number in enumerate(shown):
            name = names[number]
            row = self._first + line * self._rows
            self._draw_line(canvas, row, number, name, past, time_s, left, right, color, here)
        self._draw_time(canvas, time_s, left, right)

    def _further(self, row: Row, space: int) -> str:
        """What further tasks predict, shortened to the space."""
        _, *further = self._head.values(row)
        said = [display.words(values) for display, values in further]
        return shortened("; ".join(filter(None, said)), self._size.text, space)

    def _shown(self, past: _Past) -> list[int]:
        """The outputs that are shown, in their own order: of many those that are emphasized, then
        the highest."""
        count = len(self._display.names)
        if count <= self.lines or past.last is None or past.last.probabilities is None:
            return list(range(self.lines))
        values = past.last.probabilities
        others = np.ones(count, bool)
        others[self._display.marked(values)] = False
        return sorted(np.lexsort((-values, others))[: self.lines].tolist())

    def _draw_line(
        self,
        canvas: np.ndarray,
        row: int,
        number: int,
        name: str,
        past: _Past,
        time_s: float,
        left: int,
        right: int,
        color: Color,
        here: bool,
    ) -> None:
        """An output, from a row of text on: name, curve and number."""
        size = self._size
        now = past.last.probabilities if here and past.last is not None else None
        marked = now is not None and number in self._display.marked(now)
        weight, ink = (BOLD, WHITE) if marked else (REGULAR, GRAY)
        pad = size.text // 2
        name = shortened(name, size.text, left - 2 * pad, weight)
        self._put(canvas, name, pad, row, ink, weight)
        if now is not None:
            self._put(canvas, self._display.number(now[number]), right + pad, row, ink, weight)
        high = self._rows * size.row - 3
        low = (row + self._rows) * size.row - 2
        base = low - round(float(self._display.shares(np.zeros(1))[0]) * high)
        cv2.line(canvas, (left, base), (right, base), FAINT, 1)
        fill = color if marked else mixed(color, GROUND, OTHERS)
        for times, values in _pieces(past, number):
            x = right - (time_s - times) * (right - left) / SPAN_S
            y = low - self._display.shares(values) * high
            outline = np.concatenate(
                [[[x[0], base]], np.stack([x, y], axis=1), [[max(x[-1], x[0] + 1), base]]]
            )
            cv2.fillPoly(canvas, [np.round(outline).astype(np.int32)], fill)

    def _draw_time(self, canvas: np.ndarray, time_s: float, left: int, right: int) -> None:
        """The cursor at the right end, which is now, and the seconds before it."""
        size = self._size
        line = self._first + self.lines * self._rows
        bottom = line * size.row
        top = self._first * size.row
        for back in range(2, int(SPAN_S) + 1, 2):
            x = round(right - back * (right - left) / SPAN_S)
            cv2.line(canvas, (x, top), (x, bottom), FAINT, 1)
        cv2.line(canvas, (right, top), (right, bottom + 2), WHITE, max(1, round(size.text / 12)))
        now = f"{time_s:.1f} s"
        at = right - text_width(now, size.text)
        self._put(canvas, now, at, line, WHITE)
        begin = f"-{SPAN_S:g} s"
        if left + text_width(begin, size.text) + size.text // 2 < at:
            self._put(canvas, begin, left, line, GRAY)

    def _put(
        self,
        canvas: np.ndarray,
        text: str,
        x: int,
        line: int,
        color: Color,
        weight: int = REGULAR,
    ) -> None:
        base = (line + 1) * self._size.row - round(0.35 * self._size.text)
        put(canvas, text, (x, base), self._size.text, color, weight)


def _pieces(past: _Past, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """An output's times and values, cut where the face was away."""
    times = np.array(past.times)
    values = np.array([one[number] for one in past.values])
    if not len(times):
        return []
    cuts = np.flatnonzero(np.diff(times) > GAP_S) + 1
    return list(zip(np.split(times, cuts), np.split(values, cuts), strict=True))
