"""`finetune.dataset: affectnet`: AffectNet's manually labeled part with eight classes.

    <root>/{train_set,val_set}/images/<number>.jpg             224 x 224, faces cut out
    <root>/{train_set,val_set}/annotations/<number>_exp.npy    the class, a number or its digits

`train_set` trains, `val_set` validates (the test set is not public).

Source of the layout and of the numbers: Mollahosseini, Hasani and Mahoor, AffectNet, IEEE TAFFC
2019, arXiv:1708.03985, readme of the 8-class release (0 neutral, 1 happiness, 2 sadness,
3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; higher ones are no expression).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.stills.stills import (
    IMAGE_SUFFIXES,
    Listing,
    Part,
    Still,
    needed,
    stills_root,
)

CLASSES = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
PARTS: dict[str, Part] = {"train_set": "train", "val_set": "val"}


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Return the images that have a label.

    Raises:
        UserError: a folder of the layout is absent.
    """
    root = stills_root(params)
    stills: list[Still] = []
    left_out: Counter[str] = Counter()
    for folder, part in PARTS.items():
        images = needed(root / folder / "images", params, f"the images of {folder}")
        labels = needed(root / folder / "annotations", params, f"the labels of {folder}")
        for path in sorted(images.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            label = _label(labels / f"{path.stem}_exp.npy")
            if isinstance(label, str):
                left_out[label] += 1
            else:
                stills.append(Still(f"{folder}/{path.name}", CLASSES[label], part, path=path))
    return Listing(stills, CLASSES, dict(left_out))


def _label(path: Path) -> int | str:
    """Return the class's number, or why there is none; no pickle is loaded."""
    try:
        label = int(np.load(path, allow_pickle=False).item())
    except FileNotFoundError:
        return "without a label"
    except (OSError, ValueError, EOFError):
        return "a label that is not a number"
    return label if 0 <= label < len(CLASSES) else "labeled as no expression"
