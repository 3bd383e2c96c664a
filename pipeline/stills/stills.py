"""What a set of labeled stills owes fine-tuning: a list of images with class names, or with action
units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.datasets.root import resolve_root

Part = Literal["train", "val"]
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Still:
    """A labeled image as its set names it; nothing of it has been looked at yet.

    Attributes:
        name: for messages; unique in the set.
        label: a class name; empty where action units are annotated.
        part: where the set itself says so; None leaves the choice to us.
        subject: where the set says who it is.
        path: the image's file, or
        gray: its pixels, uint8, row by row of a square.
        units: of each action unit 1 present, 0 absent, NaN not annotated.
    """

    name: str
    label: str
    part: Part | None = None
    subject: str | None = None
    path: Path | None = None
    gray: bytes | None = None
    units: tuple[float, ...] = ()


@dataclass(frozen=True)
class Listing:
    """All stills of a set, and why others of its entries are not among them (reason: count).

    The class names stand in an order of their own: that of the set's numbers, or sorted. Of a set
    with action units they are the units' names, and each still has `units` in their order.
    """

    stills: list[Still]
    classes: list[str]
    left_out: dict[str, int]
    units: bool = False


def plain(units: Iterable[float]) -> list[float | None]:
    """Return the values of units as a digest takes them: NaN is no number there."""
    return [None if math.isnan(value) else float(value) for value in units]


def stills_root(params: FinetuneParams) -> Path:
    """Return the folder or file that `finetune.root` names.

    Raises:
        UserError: it does not exist.
    """
    named = Path(params.root or "")
    if named.suffix == ".csv":
        return resolve_root(str(named.parent), "finetune.root") / named.name
    return resolve_root(str(named), "finetune.root")


def needed(path: Path, params: FinetuneParams, what: str) -> Path:
    """Return a part of a set's layout.

    Raises:
        UserError: it is absent.
    """
    if not path.exists():
        raise UserError(
            f"finetune.root: {params.root} is not laid out as {params.dataset}: {path.name} "
            f"({what}) is not there"
        )
    return path
