"""`dataset.name: cremad`: CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset.

A name says actor, sentence, intended emotion and level: 1001_IEO_ANG_HI. The label is the emotion
that was asked for, as in most publications; what the raters saw (processedResults) is another.
"""

from __future__ import annotations

import re
from pathlib import Path

from arpgnet.pipeline.datasets.base import (
    About,
    Expected,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.layout import (
    class_of,
    relative,
    several_folds,
    unused_files,
    videos_below,
)

# in the order of the labels 0 to 5 in public code, alphabetical
CLASSES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
# actor, sentence, emotion, level; one name of the release has the level X in place of XX
NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)", re.IGNORECASE)
FIRST_ACTOR = 1001
FOLDS = 5
ACTORS_A_FOLD = 18

ABOUT = About(
    title="CREMA-D (Crowd-sourced Emotional Multimodal Actors Dataset)",
    classes=tuple(CLASSES.values()),
    marks=(
        "*/1[0-9][0-9][0-9]_[A-Z][A-Z][A-Z]_[A-Z][A-Z][A-Z]_*.[fm][lp][v4]",
        "1[0-9][0-9][0-9]_[A-Z][A-Z][A-Z]_[A-Z][A-Z][A-Z]_*.[fm][lp][v4]",
    ),
    layout="VideoFlash/1001_DFA_ANG_XX.flv: actor, sentence, emotion, level; conversions as well",
    recipe=Recipe(
        "kfold",
        "5 folds of 18 actors in the order of their numbers (the last one of 19), all clips pooled",
        folds=FOLDS,
    ),
    metric="war",
    license="Open Database License 1.0 (contents: Database Contents License)",
    obtain="https://github.com/CheyneyComputerScience/CREMA-D (git lfs)",
    source=(
        "README and file list of github.com/CheyneyComputerScience/CREMA-D (layout, codes, 7442 "
        "clips, 91 actors; there is no official split); label order and folds as in "
        "github.com/sunlicai/MAE-DFER saved/data/crema-d; not verified: the counts by class, which "
        "add up to the total"
    ),
    expected=Expected(
        clips=7442,
        subjects=91,
        classes={
            "anger": 1271,
            "disgust": 1271,
            "fear": 1271,
            "happiness": 1271,
            "neutral": 1087,
            "sadness": 1271,
        },
    ),
)


def list_clips(wanted: Wanted) -> Listing:
    """Every video with a name of the set; of a clip and its conversion the one in Flash.

    Raises:
        WrongRootError: no video has such a name.
        UserError: a name has an unknown emotion.
    """
    root = wanted.root
    chosen: dict[str, Path] = {}
    copies = []
    for path in sorted(
        videos_below(root, wanted.follow_links), key=lambda path: path.suffix.lower() != ".flv"
    ):
        if not NAME.fullmatch(path.stem):
            continue
        if path.stem.upper() in chosen:
            copies.append(relative(path, root))
        else:
            chosen[path.stem.upper()] = path
    if not chosen:
        raise WrongRootError("video named like VideoFlash/1001_DFA_ANG_XX.flv")
    folds = several_folds({name[:4]: fold_of(name[:4]) for name in chosen})
    clips = []
    for stem in sorted(chosen):
        name = relative(chosen[stem], root)
        actor, _, emotion, _ = stem.split("_")
        label = class_of(emotion, CLASSES, name)
        clips.append(ListedClip(name, label, subject=actor, fold=folds.get(actor), where=name))
    used = [*(clip.path for clip in clips), *copies]
    left_out = {"another file of the same clip": len(copies)} if copies else {}
    return Listing(clips, unused_files(root, used, wanted.follow_links), left_out)


def fold_of(actor: str) -> int:
    """Blocks of 18 actors; 1091 is the last fold's nineteenth."""
    return max(0, min((int(actor) - FIRST_ACTOR) // ACTORS_A_FOLD, FOLDS - 1))
