"""What a region of the aligned face shows, in words: `left eye` instead of `row 4, column 3`.

Left and right are the image's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# From the top: the lower limit of a band of the crop (0 to 1), and its parts from the midline
# outwards: the largest distance from the midline, and the name with `{}` for the side. The limits
# follow ArcFace's template, which puts the eyes at y = 0.47 and 0.16 beside the midline, the tip of
# the nose at 0.65, and the corners of the mouth at 0.83 and 0.13 beside it.
BANDS: tuple[tuple[float, tuple[tuple[float, str], ...]], ...] = (
    (0.14, ((0.07, "upper forehead"), (0.25, "upper forehead, {}"), (0.5, "{} hairline"))),
    (0.28, ((0.07, "forehead"), (0.22, "forehead, {}"), (0.36, "forehead, far {}"),
            (0.5, "{} temple, upper part"))),
    (0.41, ((0.07, "between the eyebrows"), (0.22, "{} eyebrow"),
            (0.36, "{} eyebrow, outer end"), (0.5, "{} temple"))),
    (0.55, ((0.07, "bridge of the nose"), (0.22, "{} eye"), (0.36, "{} eye, outer corner"),
            (0.5, "{} ear"))),
    (0.72, ((0.07, "nose"), (0.22, "{} cheek, beside the nose"), (0.36, "{} cheek"),
            (0.5, "{} cheek, outer part"))),
    (0.87, ((0.07, "mouth"), (0.22, "mouth, {} corner"), (0.36, "{} cheek, beside the mouth"),
            (0.5, "{} jaw, upper part"))),
    (1.0, ((0.07, "chin"), (0.22, "chin, {}"), (0.5, "{} jaw"))),
)  # fmt: skip


def face_part(x: float, y: float) -> str:
    """Name what lies at a position of the aligned crop (0 to 1, from its upper left corner)."""
    parts = next((parts for limit, parts in BANDS if y <= limit), BANDS[-1][1])
    away = abs(x - 0.5)
    name = next((name for limit, name in parts if away <= limit), parts[-1][1])
    return name.format("left" if x < 0.5 else "right")


def region_names(regions: Mapping[str, Any]) -> list[str]:
    """Name every region; cells of a fine grid that show the same part share its name.

    Args:
        regions: `kind`, `names` and `xy` of `reports/explanations.json`.
    """
    if regions["kind"] == "grid":
        # positions are missing where no frame shows a region: a grid's follow from its number
        side = round(len(regions["names"]) ** 0.5)
        return [
            face_part((n % side + 0.5) / side, (n // side + 0.5) / side)
            for n in range(len(regions["names"]))
        ]
    return [_in_words(name) for name in regions["names"]]


def distinct(order: Sequence[int], names: Sequence[str], most: int) -> list[int]:
    """Return the first of `order` (numbers of regions), at most one for each name."""
    first: dict[str, int] = {}
    for region in order:
        first.setdefault(names[region], region)
    return list(first.values())[:most]


def _in_words(name: str) -> str:
    """Turn `mouth_corner_left` into `left mouth corner`."""
    part, _, side = name.rpartition("_")
    words = f"{side} {part}" if side in ("left", "right") else name
    return words.replace("_", " ")
