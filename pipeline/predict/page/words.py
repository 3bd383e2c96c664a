"""What the page says of a task, in its text and to its scripts."""

from __future__ import annotations

from typing import Any

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.tables.facs import SCALES

CAUTION = "An expression is not an emotion"


def words_of(display: Display) -> dict[str, str]:
    """Return the page's sentences: `title`, `count`, `caution`, `caption` of the values at a
    moment, and `lines`: how a timeline is read."""
    count = len(display.names)
    if display.of_classes:
        return {
            "title": display.title,
            "count": plural(count, "class", "classes"),
            "caution": CAUTION,
            "caption": "Probabilities",
            "lines": "Each face has one line per class, from probability 0 (bottom) to 1 (top). "
            "Where a class is the most probable one, its curve has the face's color.",
        }
    scale = SCALES[display.kind][1]
    low, high = display.range
    ends = f"from {low:g} (bottom) to {high:g} (top)"
    lines = f"Each face has a line for {' and for '.join(display.names)}, {ends}, filled from 0."
    if display.present is not None:
        least = (
            "From its own threshold on, which stands beside it, validation has chosen it and the "
            "thin line shows it,"
            if display.thresholds
            else f"From {display.present[0]:g} on"
        )
        lines = (
            f"Each face has one line per action unit, {ends}: {scale}. {least} "
            "the unit counts as present, and its curve has the face's color."
        )
    return {
        "title": display.title,
        "count": plural(count, "target" if display.present is None else "unit"),
        "caution": CAUTION,
        "caption": f"{scale[0].upper()}{scale[1:]}",
        "lines": lines,
    }


def task_of(display: Display) -> dict[str, Any]:
    """Return what the scripts know of the values; they get these as fractions of the scale."""
    low, high = display.range
    return {
        "title": display.title,
        "names": list(display.names),
        "low": low,
        "high": high,
        "present": display.present,
        "limits": [f"≥ {one:.2f}" for one in display.thresholds],
        "ofClasses": display.of_classes,
        "presence": display.kind == "action_units",
        "short": display.short,
        "long": display.long,
    }
