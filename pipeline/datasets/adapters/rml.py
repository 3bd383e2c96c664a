"""`dataset.name: rml`: the RML Emotion Database."""

from __future__ import annotations

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
from arpgnet.pipeline.datasets.layout import class_of, relative, unused_files, videos_below
from arpgnet.pipeline.video.image_folder import natural

# the first two letters of a clip's name, in alphabetical order
CLASSES = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}

ABOUT = About(
    title="RML Emotion Database",
    classes=tuple(CLASSES.values()),
    marks=("rml-1/s1", "rml-2/s6", "s1/*/an*.avi", "s1/an*.avi"),
    layout="rml-1/s1/.../an1.avi to rml-2/s8/...: a folder a speaker, two letters of the class",
    recipe=Recipe("loso", "leave one of 8 speakers out, all clips pooled"),
    metric="war",
    license="research, non-commercial",
    obtain="on request: http://www.rml.ryerson.ca/rml-emotion-database.html",
    source="the database's page; github.com/albanie/mcnDatasets rml/getRmlImdb.m (layout, counts)",
    expected=Expected(
        clips=720,
        subjects=8,
        classes={
            "anger": 120,
            "disgust": 120,
            "fear": 120,
            "happiness": 120,
            "sadness": 120,
            "surprise": 120,
        },
    ),
)


def list_clips(wanted: Wanted) -> Listing:
    """Every video below a speaker's folder; speakers of several languages have a folder for each.

    Raises:
        WrongRootError: there is no video below a folder `s<number>`.
        UserError: a clip's name begins with no known class.
    """
    root = wanted.root
    clips = []
    for speaker in sorted(speakers(root), key=lambda path: natural(path.name)):
        for path in videos_below(speaker, wanted.follow_links):
            name = relative(path, root)
            label = class_of(path.name[:2].lower(), CLASSES, name)
            clips.append(ListedClip(name, label, subject=speaker.name.lower(), where=name))
    if not clips:
        raise WrongRootError("video below rml-1/s1 ... rml-2/s8 or s1 ... s8")
    return Listing(clips, unused_files(root, (clip.path for clip in clips), wanted.follow_links))


def speakers(root: Path) -> list[Path]:
    """The folders s1, s2, ... of the root, or of the folders rml-1 and rml-2 in it."""
    return [
        path
        for pattern in ("[sS][0-9]*", "[rR][mM][lL]*/[sS][0-9]*")
        for path in root.glob(pattern)
        if path.is_dir() and path.name[1:].isdigit()
    ]
