"""`dataset.name: ckplus`: the Extended Cohn-Kanade data set.

593 sequences from the neutral face to the peak of an expression; the 327 that fit an emotion have
a file with its number, named after the last image, the others have none and are left out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.base import (
    About,
    Expected,
    Images,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.label_files import lines_of
from arpgnet.pipeline.datasets.layout import (
    class_of,
    every_nth,
    first_match,
    folders_in,
    relative,
    unused_files,
)

# 0 would be neutral; no file of the release has it
CLASSES = {
    "1": "anger",
    "2": "contempt",
    "3": "disgust",
    "4": "fear",
    "5": "happiness",
    "6": "sadness",
    "7": "surprise",
}
FPS = 30.0
FOLDS = 10

# as the archives unpack, or unpack into a folder of their own name
IMAGES = (
    "cohn-kanade-images/cohn-kanade-images",
    "cohn-kanade-images",
    "extended-cohn-kanade-images/cohn-kanade-images",
)
EMOTION = ("Emotion/Emotion", "Emotion", "Emotion_labels/Emotion", "Emotion_labels")
LANDMARKS = ("Landmarks/Landmarks", "Landmarks")

ABOUT = About(
    title="CK+ (Extended Cohn-Kanade)",
    classes=tuple(CLASSES.values()),
    marks=(
        "[cC]ohn-[kK]anade-images/S[0-9][0-9][0-9]",
        "[cC]ohn-[kK]anade-images/*/S[0-9][0-9][0-9]",
        "extended-cohn-kanade-images/cohn-kanade-images",
    ),
    layout=(
        "cohn-kanade-images/S005/001/S005_001_00000001.png and "
        "Emotion/S005/001/S005_001_00000011_emotion.txt (and Landmarks/S005/001/..._landmarks.txt)"
    ),
    recipe=Recipe(
        "kfold",
        "10 folds of subjects, every tenth one in the order of their numbers, all clips pooled",
        folds=FOLDS,
    ),
    metric="war",
    license="research, non-commercial, by agreement",
    obtain="on request: http://www.jeffcohn.net/Resources/",
    source=(
        "the release's ReadMe (layout, codes, 593 and 327 sequences); counts by class: Lucey et "
        "al. 2010; folds: the list CK+_10-fold_sample_IDascendorder_step10.txt of "
        "github.com/Open-Debin/Emotion-FAN, all of which the rule gives; not verified: 30 images "
        "a second, and whether publications of six classes number the folds anew"
    ),
    expected=Expected(
        clips=327,
        subjects=118,
        classes={
            "anger": 45,
            "contempt": 18,
            "disgust": 59,
            "fear": 25,
            "happiness": 69,
            "sadness": 28,
            "surprise": 83,
        },
    ),
    variants=("seven", "six"),
)


def list_clips(wanted: Wanted) -> Listing:
    """Every sequence with an emotion; the variant `six` leaves contempt out.

    With `faces: aligned` the set's own 68 points say where the face is, where a sequence has them.

    Raises:
        WrongRootError: the images or the emotions are not there.
        UserError: a file of an emotion is malformed, or a sequence has two.
    """
    root = wanted.root
    images = first_match(root, *IMAGES)
    emotion = first_match(root, *EMOTION)
    if images is None:
        raise WrongRootError("folder cohn-kanade-images")
    if emotion is None:
        raise WrongRootError("folder Emotion beside cohn-kanade-images")
    points = first_match(root, *LANDMARKS)
    labels = labels_below(emotion)
    sequence_of = {f"{path.parent.name}/{path.name}": path for path in sequences(images)}
    left_out: Counter[str] = Counter()
    if unlabeled := len(sequence_of.keys() - labels.keys()):
        left_out["sequence without an emotion"] = unlabeled
    kept = labels
    if wanted.variant == "six":
        contempt = [name for name, (label, _) in labels.items() if label == "contempt"]
        left_out["contempt (variant six)"] = len(contempt)
        kept = {name: label for name, label in labels.items() if name not in contempt}
    folds = every_nth((name.split("/")[0] for name in kept), FOLDS)
    clips = []
    for name, (label, file) in sorted(kept.items()):
        landmarks = None
        if wanted.faces == "aligned" and points is not None and (points / name).is_dir():
            landmarks = relative(points / name, root)
        subject = name.split("/")[0]
        clips.append(
            ListedClip(
                relative(sequence_of.get(name, images / name), root),
                label,
                subject=subject,
                fold=folds.get(subject),
                where=file.name,
                images=Images(fps=FPS, landmarks=landmarks),
                faces="landmarks" if landmarks else "detect",
            )
        )
    if not clips:
        raise WrongRootError("file Emotion/S005/001/S005_001_00000011_emotion.txt")
    files = (file for _, file in labels.values())
    known = [*sequence_of.values(), *files, *([points] if points else [])]
    unused = unused_files(
        root, (path.relative_to(root).as_posix() for path in known), wanted.follow_links
    )
    return Listing(clips, unused, dict(left_out))


def sequences(folder: Path) -> list[Path]:
    """The folders <subject>/<sequence>."""
    return [path for subject in folders_in(folder) for path in folders_in(subject)]


def labels_below(folder: Path) -> dict[str, tuple[str, Path]]:
    """Of each sequence that has one the class, and the file that says so.

    Raises:
        UserError: a file is malformed, or a sequence has two.
    """
    found = {}
    for path in sequences(folder):
        files = sorted(path.glob("[!.]*_emotion.txt"))
        if len(files) > 1:
            raise UserError(f"{files[0].name} and {files[1].name}: two emotions of one sequence")
        if files:
            found[f"{path.parent.name}/{path.name}"] = (_label(files[0]), files[0])
    return found


def _label(file: Path) -> str:
    """The class of a line like `   3.0000000e+00`."""
    lines = [line for line in lines_of(file) if line]
    if len(lines) != 1:
        raise UserError(f"{file.name}: {len(lines)} lines, one is expected")
    try:
        number = float(lines[0])
    except ValueError:
        raise UserError(f"line 1 of {file.name}: '{lines[0]}' is not a number") from None
    code = f"{number:g}"
    return class_of(code, CLASSES, f"line 1 of {file.name}")
