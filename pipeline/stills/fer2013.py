"""`finetune.dataset: fer2013`: one csv of 48 x 48 gray images.

`finetune.root` is `fer2013.csv` (columns emotion, pixels, Usage), `icml_face_data.csv` (the same
with blanks before the names), or the folder that holds one of them. Usage `Training` trains,
`PublicTest` validates, `PrivateTest` is left alone. The set is also spread as folders of PNG files:
that is `finetune.dataset: folder`.

Source of the layout and of the numbers: Goodfellow et al., Challenges in Representation Learning,
ICONIP 2013, arXiv:1307.0414; kaggle.com/c/challenges-in-representation-learning-facial-
expression-recognition-challenge (0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise,
6 neutral).
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.stills.stills import Listing, Part, Still, stills_root

CLASSES = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
FILES = ("fer2013.csv", "icml_face_data.csv")
SIDE = 48
PARTS: dict[str, Part] = {"Training": "train", "PublicTest": "val"}
TEST = "PrivateTest"
# a row is 2304 numbers of up to three digits
_LONGEST_FIELD = 1 << 20


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Return the rows of the csv.

    Raises:
        UserError: there is no such file, or it lacks a column.
    """
    path = _file(stills_root(params), params)
    stills: list[Still] = []
    left_out: Counter[str] = Counter()
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        try:
            header = [name.strip() for name in next(rows, [])]
            emotion, pixels, usage = (header.index(n) for n in ("emotion", "pixels", "Usage"))
        except ValueError:
            raise UserError(
                f"finetune.root: {path.name} has no columns emotion, pixels and Usage"
            ) from None
        for number, row in enumerate(rows, start=2):
            still = _still(number, row, emotion, pixels, usage)
            if isinstance(still, Still):
                stills.append(still)
            else:
                left_out[still] += 1
    return Listing(stills, CLASSES, dict(left_out))


def _still(number: int, row: list[str], emotion: int, pixels: int, usage: int) -> Still | str:
    """Return a row as a still, or why it is none."""
    if len(row) <= max(emotion, pixels, usage):
        return "a row with too few columns"
    if row[usage] == TEST:
        return "of the test part"
    if row[usage] not in PARTS or row[emotion] not in {str(k) for k in range(len(CLASSES))}:
        return "an unknown emotion or Usage"
    try:
        values = np.array(row[pixels].split(), dtype=np.int64)
    except ValueError:
        return "pixels that are not numbers"
    if len(values) != SIDE**2 or values.min() < 0 or values.max() > 255:
        return f"not {SIDE} x {SIDE} pixels of 0 to 255"
    gray = values.astype(np.uint8).tobytes()
    return Still(f"line {number}", CLASSES[int(row[emotion])], PARTS[row[usage]], gray=gray)


def _file(root: Path, params: FinetuneParams) -> Path:
    if root.is_file():
        return root
    found = [root / name for name in FILES if (root / name).is_file()]
    if not found:
        raise UserError(f"finetune.root: neither {' nor '.join(FILES)} is in {params.root}")
    return found[0]
