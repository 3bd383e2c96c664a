"""`dataset.name: oulu_casia`: the Oulu-CASIA NIR&VIS facial expression database.

Each expression was filmed at once by a camera for visible light and one for near infrared, in
three lights. A clip is the folder of images from the neutral face to the strongest expression
that publications use; the whole videos (A_VideoSequence) are not read.
"""

from __future__ import annotations

from collections import Counter
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
    every_nth,
    first_match,
    folders_in,
    relative,
    unused_files,
)

# the folders' names; public code counts them in this, the alphabetical, order
CLASSES = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happiness",
    "sadness": "sadness",
    "surprise": "surprise",
}
# camera and light
VARIANTS = {
    "vl_strong": ("VL", "Strong"),
    "vl_weak": ("VL", "Weak"),
    "vl_dark": ("VL", "Dark"),
    "ni_strong": ("NI", "Strong"),
    "ni_weak": ("NI", "Weak"),
    "ni_dark": ("NI", "Dark"),
}
WHOLE = ("B_OriginalImg/OriginalImg", "B_OriginalImg", "OriginalImg", "Oulu_CASIA_NIR_VIS", "")
CROPS = (
    "C_PreProcess_Img/PreProcess_Img",
    "C_PreProcess_Img",
    "PreProcess_Img",
    "PreProcessImg",
    "PreProcess",
    "",
)
FPS = 25.0
FOLDS = 10

# of a person and an expression, the folder of images
Sequences = dict[tuple[str, str], Path]

ABOUT = About(
    title="Oulu-CASIA NIR&VIS facial expression database",
    classes=tuple(CLASSES.values()),
    marks=(
        "*OriginalImg/[VN][LI]/[SWD]*/P[0-9][0-9][0-9]",
        "*OriginalImg/OriginalImg/[VN][LI]/[SWD]*/P[0-9][0-9][0-9]",
        "Oulu_CASIA_NIR_VIS/[VN][LI]/[SWD]*/P[0-9][0-9][0-9]",
        "[VN][LI]/[SWD]*/P[0-9][0-9][0-9]",
        "*PreProcess*/[VN][LI]_Acropped/[SWD]*/P[0-9][0-9][0-9]",
        "*PreProcess*/*/[VN][LI]_Acropped/[SWD]*/P[0-9][0-9][0-9]",
        "[VN][LI]_Acropped/[SWD]*/P[0-9][0-9][0-9]",
    ),
    layout=(
        "OriginalImg/VL/Strong/P001/Anger/000.jpeg (cut out: PreProcess_Img/VL_Acropped/Strong/...)"
    ),
    recipe=Recipe(
        "kfold",
        "10 folds of subjects, every tenth one in the order of their numbers, all clips pooled",
        folds=FOLDS,
    ),
    metric="war",
    license="research, non-commercial, by agreement (wording not verified)",
    obtain="on request: Center for Machine Vision and Signal Analysis, University of Oulu",
    source=(
        "Zhao et al. 2011, doi 10.1016/j.imavis.2011.07.002 (80 people, six expressions, 25 "
        "images per second); github.com/menorashid/eccv_18 code/data_processors/preprocess_oulu.py "
        "(layout, classes, P001 to P080, folds); not verified: the archives' names B_... and "
        "C_... are those of public scripts, and whether other publications use the same folds"
    ),
    expected=Expected(clips=480, subjects=80, classes=dict.fromkeys(CLASSES.values(), 80)),
    variants=tuple(VARIANTS),
)


def list_clips(wanted: Wanted) -> Listing:
    """The sequences of one camera in one light.

    With `faces: aligned` a sequence is its folder below PreProcess_Img, where there is none the one
    below OriginalImg; else the other way round, and faces are looked for in either.

    Raises:
        WrongRootError: there is no folder of the variant.
        UserError: a folder of a person has a name that is no expression.
    """
    root = wanted.root
    variant = wanted.variant or ABOUT.variants[0]
    camera, light = VARIANTS[variant]
    clips: list[ListedClip] = []
    left_out: Counter[str] = Counter()
    used: list[Path] = []
    crops_only = 0
    for name, place in VARIANTS.items():
        whole, crops = sequences(root, *place, WHOLE), sequences(root, *place, CROPS, "_Acropped")
        used += [*whole.values(), *crops.values()]
        if name != variant:
            left_out[f"{' '.join(place)} (variant {name})"] += len({**whole, **crops})
            continue
        aligned = crops if wanted.faces == "aligned" else {}
        chosen = {**crops, **whole, **aligned}
        crops_only = 0 if aligned else len(crops.keys() - whole.keys())
        folds = every_nth((person for person, _ in chosen), FOLDS)
        for person, label in sorted(chosen):
            path = relative(chosen[person, label], root)
            clips.append(
                ListedClip(
                    path,
                    label,
                    subject=person,
                    fold=folds.get(person),
                    where=path,
                    images=Images(fps=FPS),
                    faces="aligned" if (person, label) in aligned else "detect",
                )
            )
    if not clips:
        raise WrongRootError(f"folder OriginalImg/{camera}/{light}/P001/Anger")
    remarks = []
    if crops_only:
        remarks.append(
            f"{plural(crops_only, 'sequence')} available only as cropped faces: faces are detected "
            "in the crops; use faces.source: aligned to take the crops as they are"
        )
    unused = unused_files(
        root, (path.relative_to(root).as_posix() for path in used), wanted.follow_links
    )
    return Listing(clips, unused, {why: count for why, count in left_out.items() if count}, remarks)


def sequences(
    root: Path, camera: str, light: str, places: tuple[str, ...], suffix: str = ""
) -> Sequences:
    """The folders of expressions of one camera in one light, by person and class."""
    folder = first_match(
        root, *(f"{place}/{camera}{suffix}/{light}".strip("/") for place in places)
    )
    return {
        (person.name.upper(), class_of(path.name.lower(), CLASSES, relative(path, root))): path
        for person in (folders_in(folder) if folder else [])
        if person.name[:1].upper() == "P" and person.name[1:].isdigit()
        for path in folders_in(person)
    }
