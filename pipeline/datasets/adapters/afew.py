"""`dataset.name: afew`: Acted Facial Expressions in the Wild, as distributed for EmotiW."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.wording import plural
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
from arpgnet.pipeline.datasets.layout import (
    class_of,
    first_match,
    folders_in,
    is_video,
    relative,
    unused_files,
    videos_below,
)

# the folders' names, by which the class order of the set is alphabetical
CLASSES = {
    "Angry": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happiness",
    "Neutral": "neutral",
    "Sad": "sadness",
    "Surprise": "surprise",
}
_BY_FOLDER = {name.lower(): label for name, label in CLASSES.items()}
SPLITS = {"train": ("Train_AFEW", "train_afew"), "val": ("Val_AFEW", "val_afew")}
TEST = ("Test_AFEW", "test_afew")
FACES = {
    "train": "AlignedFaces_LBPTOP_Points/Faces",
    "val": "AlignedFaces_LBPTOP_Points_Val/Faces",
}

ABOUT = About(
    title="Acted Facial Expressions in the Wild (EmotiW 2016)",
    classes=tuple(CLASSES.values()),
    marks=("Train_AFEW", "Val_AFEW", "train_afew", "val_afew"),
    layout="Train_AFEW/Angry/<video>.avi and Val_AFEW/..., or train_afew/Angry/<video>/<frame>.jpg",
    recipe=Recipe(
        "official", "trained on Train, tested on all clips of Val; Test has no labels", "clip"
    ),
    metric="war",
    license="research, after a signed agreement",
    obtain="https://users.cecs.anu.edu.au/~few_group/AFEW.html",
    source="Dhall et al., ICMI 2016 (EmotiW 2016); github.com/Open-Debin/Emotion-FAN data/face; "
    "github.com/albanie/mcnDatasets afew3.0 (counts, missing faces)",
    expected=Expected(
        clips=1156,
        splits={"train": 773, "val": 383},
        classes={
            "anger": 197,
            "disgust": 114,
            "fear": 127,
            "happiness": 213,
            "neutral": 207,
            "sadness": 178,
            "surprise": 120,
        },
    ),
)


def list_clips(wanted: Wanted) -> Listing:
    """The videos, or with `aligned` their provided faces; a video without them is used itself.

    A name may stand in Train and in Val for two different clips. Videos without a detected face
    are clips like all others: leaving them out would change the denominator.

    Raises:
        WrongRootError: neither Train_AFEW nor Val_AFEW, in letters of either case, with clips.
        UserError: a folder is no class of the set.
    """
    root = wanted.root
    clips: list[ListedClip] = []
    places = {split: first_match(root, *names) for split, names in SPLITS.items()}
    for split, place in places.items():
        if place is None:
            continue
        faces = first_match(place, FACES[split]) if wanted.faces == "aligned" else None
        for folder in folders_in(place):
            if folder.name.lower().startswith("alignedfaces"):
                continue
            label = class_of(folder.name.lower(), _BY_FOLDER, relative(folder, root))
            clips += _clips(folder, label, split, wanted, faces)
    missing = [split for split in SPLITS if split not in {clip.split for clip in clips}]
    if missing:
        raise WrongRootError(
            f"clip below {' or '.join(SPLITS[missing[0]])}/<class>/<video> ({missing[0]} part)"
        )
    videos = sum(clip.images is None for clip in clips)
    remarks = []
    if wanted.faces == "aligned" and videos:
        remarks.append(
            f"{plural(videos, 'clip')} without provided faces: faces are detected instead"
        )
    # a video is used though its provided faces stand for it
    used = [
        relative(path, root) for place in places.values() if place for path in folders_in(place)
    ]
    test = first_match(root, *TEST)
    left_out = {}
    if test is not None:
        used.append(relative(test, root))
        count = len(videos_below(test, wanted.follow_links))
        left_out["of the test part, whose labels are not public"] = count
    return Listing(clips, unused_files(root, used, wanted.follow_links), left_out, remarks)


def _clips(
    folder: Path, label: str, split: str, wanted: Wanted, faces: Path | None
) -> list[ListedClip]:
    """A class's videos or, where they lie there, folders of frames."""
    clips = []
    for path in sorted(folder.iterdir()):
        images = path.is_dir() and not path.name.startswith(".")
        if not (images or is_video(path)):
            continue
        provided = faces / path.stem if faces and not images else None
        if provided is not None and any(provided.glob("*.*")):
            path, images = provided, True
        name = relative(path, wanted.root)
        clips.append(
            ListedClip(
                name,
                label,
                split=split,
                where=name,
                images=Images(fps=wanted.fps) if images else None,
                # Emotion-FAN's frames are cut out faces, as the provided ones are
                faces="aligned" if images and wanted.faces == "aligned" else "detect",
            )
        )
    return clips
