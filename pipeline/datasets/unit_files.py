"""Files of one action unit each: a line for each frame with its intensity."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.clip_targets import INTENSITY, ClipTargets, FrameValues, read_value
from arpgnet.pipeline.datasets.label_files import cells_of


def read_intensities(path: Path, unit: int, first: int) -> ClipTargets:
    """Read lines of `frame,intensity`, without a header.

    Args:
        first: the number of the video's first frame.

    Raises:
        UserError: a line is no such pair, or a frame is listed twice.
    """
    lines = []
    for number, cells in cells_of(path):
        if len(cells) != 2:
            raise UserError(
                f"line {number} of {path.name}: {plural(len(cells), 'field')}, not frame,intensity"
            )
        lines.append((number, cells[0], cells[1]))
    return of_lines(path.name, unit, lines, first)


def of_lines(
    name: str, unit: int, lines: Iterable[tuple[int, str, str]], first: int
) -> ClipTargets:
    """Return the intensities of a unit.

    Args:
        name: of the file, for messages.
        lines: number of the line, frame and value.
        first: the number of the video's first frame.

    Raises:
        UserError: a line has no frame or intensity, or a frame is listed twice.
    """
    column = f"au_{unit}{INTENSITY}"
    found = FrameValues([column], first)
    for number, frame, value in lines:
        where = f"line {number} of {name}"
        found.add(frame, [read_value(column, value, where)], where)
    return found.targets(name)
