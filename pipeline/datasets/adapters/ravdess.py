"""`dataset.name: ravdess`: the Ryerson Audio-Visual Database of Emotional Speech and Song.

A name is seven codes: modality (01 video with sound, 02 video only, 03 sound only), channel (01
speech, 02 song), emotion, intensity, statement, repetition, actor (odd numbers are men, even ones
women). 01 and 02 of a performance are the same images: they are one group, never on two sides.
"""

from __future__ import annotations

import re
from collections import Counter
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
    is_video,
    relative,
    several_folds,
    unused_files,
    visible_files,
)
from arpgnet.pipeline.video.image_folder import natural

CLASSES = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
NAME = re.compile(r"(0[123])-(0[12])-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
VIDEO_ONLY, SOUND_ONLY = "02", "03"
CHANNELS = {"01": "speech", "02": "song"}
# of each performance one file: without sound where there is such a one
ONCE = "speech_once"
ACTORS_A_FOLD = 4

ABOUT = About(
    title="RAVDESS (Ryerson Audio-Visual Database of Emotional Speech and Song)",
    classes=tuple(CLASSES.values()),
    marks=(
        "Actor_[0-9][0-9]/0[12]-0[12]-0[1-8]-*.mp4",
        "*/Actor_[0-9][0-9]/0[12]-0[12]-0[1-8]-*.mp4",
        "Video_S[a-z]*_Actor_[0-9][0-9]/0[12]-0[12]-0[1-8]-*.mp4",
        "0[12]-0[12]-0[1-8]-0[12]-0[12]-0[12]-[0-2][0-9].mp4",
    ),
    layout="Actor_01/01-01-03-02-01-01-01.mp4, or Video_Speech_Actor_01/Actor_01/..., or flat",
    recipe=Recipe(
        "kfold",
        "6 folds of 4 actors in the order of their numbers, all clips pooled",
        folds=6,
    ),
    metric="war",
    license="CC BY-NC-SA 4.0",
    obtain="https://zenodo.org/records/1188976",
    source=(
        "Zenodo record 1188976 (codes, layout, counts; there is no official split); folds of 4 "
        "actors, label order and speech without sound only (1440 clips: variant speech_once) as "
        "in github.com/sunlicai/MAE-DFER saved/data/ravdess"
    ),
    expected=Expected(
        clips=2880,
        subjects=24,
        classes={
            "neutral": 192,
            "calm": 384,
            "happiness": 384,
            "sadness": 384,
            "anger": 384,
            "fear": 384,
            "disgust": 384,
            "surprise": 384,
        },
    ),
    variants=("speech", "song", "both", ONCE),
)


def list_clips(wanted: Wanted) -> Listing:
    """Every video of the variant, wherever below the root it lies.

    Raises:
        WrongRootError: no video has a name of seven codes.
        UserError: a name has an unknown emotion.
    """
    root = wanted.root
    left_out: Counter[str] = Counter()
    known: list[str] = []
    videos: dict[str, Path] = {}
    for path in sorted(
        visible_files(root, wanted.follow_links), key=lambda path: natural(path.as_posix())
    ):
        codes = NAME.fullmatch(path.stem)
        if not codes or not (is_video(path) or path.suffix.lower() == ".wav"):
            continue
        known.append(path.relative_to(root).as_posix())
        if codes[1] == SOUND_ONLY:
            left_out["sound without images (03)"] += 1
        elif not is_video(path):
            left_out["the sound of a video, taken out of it"] += 1
        elif path.stem in videos:
            left_out["a second copy of a file"] += 1
        else:
            videos[path.stem] = path
    if not videos:
        raise WrongRootError("video named like Actor_01/01-01-03-02-01-01-01.mp4")
    variant = wanted.variant or ABOUT.variants[0]
    chosen = _chosen(videos, variant, left_out)
    if not chosen:
        raise WrongRootError(f"{variant.removesuffix('_once')} among the {len(videos)} videos")
    folds = several_folds({stem[-2:]: (int(stem[-2:]) - 1) // ACTORS_A_FOLD for stem, _ in chosen})
    clips = [_clip(stem, relative(path, root), folds.get(stem[-2:])) for stem, path in chosen]
    return Listing(clips, unused_files(root, known, wanted.follow_links), dict(left_out))


def _chosen(
    videos: dict[str, Path], variant: str, left_out: Counter[str]
) -> list[tuple[str, Path]]:
    """The videos of a variant; the others are counted."""
    wanted = "speech" if variant == ONCE else variant
    chosen = []
    for stem, path in videos.items():
        channel = CHANNELS[stem[3:5]]
        if wanted not in (channel, "both"):
            left_out[f"{channel} (variant {variant})"] += 1
        elif variant == ONCE and stem[:2] != VIDEO_ONLY and f"{VIDEO_ONLY}{stem[2:]}" in videos:
            left_out["with sound (01), beside the same without (02)"] += 1
        else:
            chosen.append((stem, path))
    return chosen


def _clip(stem: str, name: str, fold: int | None) -> ListedClip:
    label = class_of(stem[6:8], CLASSES, name)
    # a performance is all of the code but its modality
    actor = stem[-2:]
    gender = "female" if int(actor) % 2 == 0 else "male"
    return ListedClip(
        name,
        label,
        subject=f"actor_{actor}",
        fold=fold,
        group=stem[3:],
        where=name,
        traits=(("gender", gender),),
    )
