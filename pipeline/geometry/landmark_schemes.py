"""Landmark schemes: which point of 106, 98 or 68 is which part of the face.

Left and right are the image's, not the subject's. The three schemes are written with the same
parts, so that whatever is defined on parts works for all of them.

Sources:
  106: InsightFace `2d106det` (alignment/coordinate_reg); order of the public 106-to-68 mapping
  98: WFLW, Wu et al., CVPR 2018, arXiv:1805.10483
  68: iBUG 300-W, Sagonas et al., ICCV workshops 2013
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

SchemeName = Literal["106", "98", "68"]
Indices = tuple[int, ...]
Sides = tuple[Indices, Indices]


@dataclass(frozen=True)
class Scheme:
    """A scheme's parts, together every point once.

    Attributes:
        sides: part -> (image-left, image-right), mirror images in the same place. Brows run from
            the tip inwards, eyes from the outer corner over the upper lid all the way round.
        rows: part -> points from image-left to image-right across the midline.
        midline: part -> points on the midline, from the top down.
    """

    name: SchemeName
    sides: dict[str, Sides]
    rows: dict[str, Indices]
    midline: dict[str, Indices]

    @cached_property
    def points(self) -> int:
        """Number of landmarks."""
        return len(self.mirror)

    @cached_property
    def mirror(self) -> Indices:
        """Each point's mirror image: `flipped = points[mirror]` after `x -> width - 1 - x`."""
        partner: dict[int, int] = {}
        for left, right in self.sides.values():
            partner |= dict(zip(left, right, strict=True))
            partner |= dict(zip(right, left, strict=True))
        for row in self.rows.values():
            partner |= dict(zip(row, row[::-1], strict=True))
        for row in self.midline.values():
            partner |= dict(zip(row, row, strict=True))
        return tuple(partner[index] for index in range(len(partner)))


SCHEMES: dict[str, Scheme] = {
    "106": Scheme(
        name="106",
        sides={
            "brow_upper": ((43, 48, 49, 51, 50), (101, 105, 104, 103, 102)),
            "brow_lower": ((44, 45, 47, 46), (100, 99, 98, 97)),
            "eye": ((35, 41, 40, 42, 39, 37, 33, 36), (93, 96, 94, 95, 89, 90, 87, 91)),
            "pupil": ((34, 38), (88, 92)),
            "nose_side": ((75, 76), (81, 82)),
            "nostril": ((77, 78), (83, 84)),
            "nose_base": ((79,), (85,)),
        },
        rows={
            "contour": (
                *(1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0),
                *(24, 23, 22, 21, 20, 19, 18, 32, 31, 30, 29, 28, 27, 26, 25, 17),
            ),
            "upper_lip_outer": (52, 64, 63, 71, 67, 68, 61),
            "lower_lip_outer": (55, 56, 53, 59, 58),
            "upper_lip_inner": (65, 66, 62, 70, 69),
            "lower_lip_inner": (54, 60, 57),
        },
        midline={"nose_bridge": (72, 73, 74), "nose_tip": (86,), "nose_bottom": (80,)},
    ),
    "98": Scheme(
        name="98",
        sides={
            "brow_upper": ((33, 34, 35, 36, 37), (46, 45, 44, 43, 42)),
            "brow_lower": ((41, 40, 39, 38), (47, 48, 49, 50)),
            "eye": ((60, 61, 62, 63, 64, 65, 66, 67), (72, 71, 70, 69, 68, 75, 74, 73)),
            "pupil": ((96,), (97,)),
            "nostril": ((55,), (59,)),
            "nose_base": ((56,), (58,)),
        },
        rows={
            "contour": tuple(range(33)),
            "upper_lip_outer": (76, 77, 78, 79, 80, 81, 82),
            "lower_lip_outer": (87, 86, 85, 84, 83),
            "upper_lip_inner": (88, 89, 90, 91, 92),
            "lower_lip_inner": (95, 94, 93),
        },
        midline={"nose_bridge": (51, 52, 53), "nose_tip": (54,), "nose_bottom": (57,)},
    ),
    "68": Scheme(
        name="68",
        sides={
            "brow_upper": ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22)),
            "eye": ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)),
            "nostril": ((31,), (35,)),
            "nose_base": ((32,), (34,)),
        },
        rows={
            "contour": tuple(range(17)),
            "upper_lip_outer": (48, 49, 50, 51, 52, 53, 54),
            "lower_lip_outer": (59, 58, 57, 56, 55),
            "upper_lip_inner": (60, 61, 62, 63, 64),
            "lower_lip_inner": (67, 66, 65),
        },
        midline={"nose_bridge": (27, 28, 29), "nose_tip": (30,), "nose_bottom": (33,)},
    ),
}


def scheme_indices(name: str) -> dict[str, Indices]:
    """Return landmark indices by region.

    Keys, `*` standing for `left` and `right`: brow_*, brow_inner_*, eye_* (the ring of the lids),
    eye_outer_*, eye_inner_*, pupil_* (empty in 68), nose, nose_bridge, nose_tip, nostril_*, mouth,
    mouth_outer and mouth_inner (rings), mouth_corner_* (outer and inner), upper_lip and lower_lip
    (without the corners), contour (image-left to image-right), chin (the contour's lowest point).

    Raises:
        KeyError: `name` is none of "106", "98", "68".
    """
    scheme = SCHEMES[name]
    regions = {**scheme.rows, **scheme.midline}
    for number, side in enumerate(("left", "right")):
        regions |= {f"{part}_{side}": pair[number] for part, pair in scheme.sides.items()}
        upper, eye = regions[f"brow_upper_{side}"], regions[f"eye_{side}"]
        lower = regions.get(f"brow_lower_{side}", ())
        end = -number  # the row's image-left end is 0, its image-right end -1
        regions |= {
            f"brow_{side}": upper + lower,
            f"brow_inner_{side}": upper[-1:] + lower[-1:],
            f"eye_outer_{side}": eye[:1],
            f"eye_inner_{side}": eye[len(eye) // 2 : len(eye) // 2 + 1],
            f"pupil_{side}": regions.get(f"pupil_{side}", ()),
            f"mouth_corner_{side}": (
                scheme.rows["upper_lip_outer"][end],
                scheme.rows["upper_lip_inner"][end],
            ),
        }
    outer = regions["upper_lip_outer"] + regions["lower_lip_outer"][::-1]
    inner = regions["upper_lip_inner"] + regions["lower_lip_inner"][::-1]
    contour = regions["contour"]
    nose = tuple(i for part, row in regions.items() if part.startswith("nos") for i in row)
    return regions | {
        "mouth_outer": outer,
        "mouth_inner": inner,
        "mouth": outer + inner,
        "upper_lip": regions["upper_lip_outer"][1:-1] + regions["upper_lip_inner"][1:-1],
        "lower_lip": regions["lower_lip_outer"] + regions["lower_lip_inner"],
        "chin": (contour[len(contour) // 2],),
        "nose": nose,
    }
