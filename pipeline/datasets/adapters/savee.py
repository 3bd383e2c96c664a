"""`dataset.name: savee`: Surrey Audio-Visual Expressed Emotion."""

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
    first_match,
    relative,
    unused_files,
    videos_below,
)

SPEAKERS = ("DC", "JE", "JK", "KL")

# the letters before the number of the sentence, in the order of the database's Info.txt
CLASSES = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}

ABOUT = About(
    title="Surrey Audio-Visual Expressed Emotion (SAVEE)",
    classes=tuple(CLASSES.values()),
    marks=("AudioVisualClip/DC", "AudioVisualClip/AudioVisualClip/DC", "DC/sa1.avi", "DC/sa01.avi"),
    layout="AudioVisualClip/DC/a1.avi: a folder for each of DC JE JK KL, letters of the class",
    recipe=Recipe("loso", "leave one of 4 speakers out"),
    metric="war",
    license="research, non-commercial",
    obtain="on registration: http://kahlan.eps.surrey.ac.uk/savee/",
    source=(
        "AudioData/Info.txt of the database (letters, speakers); Haq's thesis (480 clips); public "
        "code that reads AudioVisualClip/DC/a1.avi; not verified: the license's words"
    ),
    expected=Expected(
        clips=480,
        subjects=4,
        classes={name: 120 if name == "neutral" else 60 for name in CLASSES.values()},
    ),
)


def list_clips(wanted: Wanted) -> Listing:
    """Every video of the four speakers; the recordings without images are not clips.

    Raises:
        WrongRootError: there is no video below a speaker's folder.
        UserError: a clip's name begins with no known class.
    """
    root = wanted.root
    clips = []
    for speaker in SPEAKERS:
        folder = speaker_folder(root, speaker)
        for path in videos_below(folder, wanted.follow_links) if folder else ():
            name = relative(path, root)
            letters = re.match(r"[^\d.]*", path.name.lower())
            label = class_of(letters[0] if letters else "", CLASSES, name)
            clips.append(ListedClip(name, label, subject=speaker, where=name))
    if not clips:
        raise WrongRootError("video below AudioVisualClip/DC, JE, JK or KL")
    return Listing(clips, unused_files(root, (clip.path for clip in clips), wanted.follow_links))


def speaker_folder(root: Path, speaker: str) -> Path | None:
    """In AudioVisualClip (which some archives hold twice, one in the other), or in the root."""
    return first_match(
        root,
        f"AudioVisualClip/{speaker}",
        f"AudioVisualClip/AudioVisualClip/{speaker}",
        speaker,
    )
