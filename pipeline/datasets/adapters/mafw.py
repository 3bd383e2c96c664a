"""`dataset.name: mafw`: the Multi-modal compound Affective Database in the Wild."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.datasets.base import About, Expected, Listing, Recipe, Wanted, WrongRootError
from arpgnet.pipeline.datasets.label_files import rows_of
from arpgnet.pipeline.datasets.layout import class_of, first_match, named_folders
from arpgnet.pipeline.datasets.numbered import Form, find_forms, listing, official_folds, rows_in

# in the order of the set's label table, which numbers them from 1
EMOTIONS = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
FOLDS = range(1, 6)

FORMS = (
    Form(("clips",), "{:05d}.mp4"),
    Form(("frames",), "{:05d}", image_sequence=True),
    Form(
        ("faces", "clips_faces", "frames_crop_align_224"),
        "{:05d}",
        image_sequence=True,
        crops=True,
    ),
)

ABOUT = About(
    title="MAFW: Multi-modal compound Affective Database in the Wild",
    classes=EMOTIONS,
    marks=(
        "Train & Test Set/single/no_caption",
        "*/Train & Test Set/single/no_caption",
        "*/single/no_caption/set_1",
    ),
    layout="Train & Test Set/single/no_caption/set_1/train.txt, test.txt to set_5, and "
    "data/clips/00025.mp4 or data/faces/00025/*.jpg",
    recipe=Recipe("kfold", "the 5 official folds of the single or compound set", group_by="clip"),
    metric="war",
    license="research, non-commercial",
    obtain="on request by university staff: https://mafw-database.github.io/MAFW",
    source="github.com/MAFW-database/MAFW (the set's page); github.com/sunlicai/MAE-DFER "
    "preprocess/mafw.py (lists, class order, data/frames), github.com/zengqunzhao/DFER-CLIP "
    "(data/faces), public inventories of the release (folds, counts); not verified: the archive of "
    "aligned faces in the release, the frame rate of images, an order of the 32 compound classes "
    "(they follow the 11 by name); neither the film nor the person of a clip is published",
    expected=Expected(
        clips=9172,
        classes={
            "anger": 1390,
            "disgust": 639,
            "fear": 625,
            "happiness": 1242,
            "neutral": 1138,
            "sadness": 1470,
            "surprise": 1072,
            "contempt": 236,
            "anxiety": 916,
            "helplessness": 262,
            "disappointment": 182,
        },
    ),
    variants=("single", "compound"),
)


def list_clips(wanted: Wanted) -> Listing:
    """The clips of the official lists: 11 classes, or with `compound` 43, the 11 among them.

    Raises:
        WrongRootError: the lists of a fold, or all clips, are missing.
        UserError: a list is malformed, names an unknown class, or disagrees with another.
    """
    lists = {fold: _lists(wanted, fold) for fold in FOLDS}
    compound = wanted.variant == "compound"
    entries = official_folds(
        {
            fold: (_rows(train, compound), _rows(test, compound))
            for fold, (train, test) in lists.items()
        }
    )
    forms = find_forms(wanted, FORMS)
    if not any(one.clips for one in forms):
        raise WrongRootError("clip below data/clips, data/frames or data/faces")
    return listing(
        wanted,
        entries,
        forms,
        [path for pair in lists.values() for path in pair],
        f"not in the lists of the {wanted.variant or 'single'} set",
    )


def _lists(wanted: Wanted, fold: int) -> tuple[Path, Path]:
    """The lists of a fold that train and test; those without captions, which have every clip."""
    variant = wanted.variant or "single"
    sets = named_folders(wanted.root, variant)
    paths = []
    for side in ("train", "test"):
        name = f"no_caption/set_{fold}/{side}.txt"
        path = next((path for one in sets if (path := first_match(one, name))), None)
        if path is None:
            raise WrongRootError(f"Train & Test Set/{variant}/{name}")
        paths.append(path)
    return paths[0], paths[1]


def _rows(path: Path, compound: bool) -> list[tuple[str, int, str]]:
    rows = rows_of(path, ("clip", "label"), header=False, delimiter=" ")

    def label(name: str, where: str) -> str:
        for part in name.split("_") if compound else [name]:
            class_of(part, dict(zip(EMOTIONS, EMOTIONS, strict=True)), where)
        return name

    return list(rows_in(path, rows, "clip", label))
