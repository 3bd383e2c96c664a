"""`finetune.dataset: rafdb`: RAF-DB's basic emotions.

    <root>[/basic]/EmoLabel/list_patition_label.txt     lines "train_00001.jpg 5" (sic: patition)
    <root>[/basic]/Image/aligned/train_00001_aligned.jpg         100 x 100, aligned, or
    <root>[/basic]/Image/original/train_00001.jpg

The aligned images are taken where they are there. Names that begin with `train` train, those that
begin with `test` are left alone; the validation part is carved from the first.

Source of the layout and of the numbers: Li, Deng and Du, Reliable Crowdsourcing and Deep
Locality-Preserving Learning, CVPR 2017; readme of the set, whdeng.cn/RAF/model1.html (1 surprise,
2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral).
"""

from __future__ import annotations

from collections import Counter

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.stills.stills import Listing, Still, needed, stills_root

CLASSES = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
LABELS = "EmoLabel/list_patition_label.txt"


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Return the images that the list names and that are there.

    Raises:
        UserError: the list or the images' folder is absent, or a line of the list is wrong.
    """
    root = stills_root(params)
    root = root / "basic" if (root / "basic").is_dir() else root
    labels = needed(root / LABELS, params, "the list of labels")
    images = needed(root / "Image", params, "the images")
    aligned = (images / "aligned").is_dir()
    folder = images / ("aligned" if aligned else "original")
    stills: list[Still] = []
    left_out: Counter[str] = Counter()
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().partition(" ")
        if label.strip() not in {str(k + 1) for k in range(len(CLASSES))} or "/" in name:
            raise UserError(
                f"{labels.name}, line {number}: '{line}' is not an image and a class 1..7"
            )
        stem, dot, suffix = name.rpartition(".")
        path = folder / (f"{stem}_aligned{dot}{suffix}" if aligned else name)
        if name.startswith("test"):
            left_out["of the test part"] += 1
        elif not path.is_file():
            left_out["named in the list, but not there"] += 1
        else:
            stills.append(Still(name, CLASSES[int(label) - 1], path=path))
    return Listing(stills, CLASSES, dict(left_out))
