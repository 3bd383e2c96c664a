"""`dataset.name: baum1`: BAUM-1, spontaneous (BAUM-1s) and acted (BAUM-1a)."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.base import (
    About,
    Expected,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.label_files import lines_of
from arpgnet.pipeline.datasets.layout import (
    class_of,
    first_match,
    folders_in,
    relative,
    unused_files,
    videos_below,
)

# beginnings of the words in the annotations; both parts number their classes in this order, from 1
WORDS = {
    "ang": "anger",
    "bor": "boredom",
    "bot": "bothered",
    "conc": "concentrating",
    "cont": "contempt",
    "dis": "disgust",
    "fea": "fear",
    "hap": "happiness",
    "int": "interest",
    "neu": "neutral",
    "sad": "sadness",
    "sur": "surprise",
    "thi": "thinking",
    "uns": "unsure",
}


@dataclass(frozen=True)
class Part:
    """One of the two parts: the letter in its files' names, and its codes."""

    letter: str
    codes: Mapping[str, str]

    @property
    def annotations(self) -> str:
        """Name of the label file, without its suffix."""
        return f"Annotations_BAUM1{self.letter}"

    def folders(self, root: Path) -> list[Path]:
        """`BAUM1s_MP4 - All`, `BAUM1a_MP4_all` and other spellings, in order."""
        return [
            path
            for path in folders_in(root)
            if re.sub(r"[^a-z0-9]", "", path.name.lower()).startswith(f"baum1{self.letter}")
        ]


def _numbered(*left_out: str) -> dict[str, str]:
    names = [name for name in WORDS.values() if name not in left_out]
    return {str(number): name for number, name in enumerate(names, 1)}


PARTS = {
    "spontaneous": Part("s", _numbered("interest")),
    "acted": Part("a", _numbered("bothered", "concentrating", "contempt", "neutral", "thinking")),
}

ABOUT = About(
    title="BAUM-1 audio-visual face database of affective and mental states",
    classes=tuple(WORDS.values()),
    marks=("Annotations_BAUM1[sa].*", "BAUM1[sa]_MP4*"),
    layout=(
        "BAUM1s_MP4 - All/s001/S001_001.mp4 and Annotations_BAUM1s.csv (saved from the .xlsx); "
        "BAUM1a_... for the acted part"
    ),
    recipe=Recipe("kfold", "5 folds of subjects, ours: the release has no partition", folds=5),
    metric="war",
    license="research, on request",
    obtain="on request: https://archive.ics.uci.edu/dataset/473/baum+1",
    source=(
        "public code that reads Annotations_BAUM1s (clip, word and code in columns D, E, F; codes "
        "1-13 and 1-9; folders s001); UCI record 473 (1184 clips, 31 subjects); not verified: "
        "headings of the annotations, the license's words"
    ),
    expected=Expected(clips=1184, subjects=31),
    variants=tuple(PARTS),
    only_in_others=("interest",),
)

UNSURE_LABEL = "word and code of the annotation name two classes"
NOT_ANNOTATED = "videos without an annotation"
_CLIP = re.compile(r"s(\d+)_(\d+)(\.\w+)?", re.IGNORECASE)


def list_clips(wanted: Wanted) -> Listing:
    """Every clip of the part's annotations; clips of the two parts have the same names.

    Raises:
        WrongRootError: the part's folder, or its annotations, are not there.
        UserError: the annotations are there as a workbook only, or a line says something
            impossible.
    """
    root = wanted.root
    part = PARTS[wanted.variant]
    videos = [
        path for folder in part.folders(root) for path in videos_below(folder, wanted.follow_links)
    ]
    if not videos:
        raise WrongRootError(f"video below a folder BAUM1{part.letter}_MP4...")
    places: dict[str, str] = {}
    for path in videos:
        places.setdefault(_clip(path.stem) or path.stem, relative(path, root))
    home = videos[0].relative_to(root).parts[0]
    file = label_file(root, part)
    left_out: Counter[str] = Counter()
    lines = labels(file, part, left_out)
    clips = []
    for clip, (where, label) in lines.items():
        if label is None:
            left_out[UNSURE_LABEL] += 1
            continue
        subject = clip.split("_")[0].lower()
        place = places.get(clip, f"{home}/{subject}/{clip}.mp4")
        clips.append(ListedClip(place, label, subject=subject, where=where))
    left_out[NOT_ANNOTATED] += len(places.keys() - lines.keys())
    others = others_videos(wanted, part)
    for name, paths in others.items():
        left_out[f"videos of the {name} part"] += len(paths)
    known = [*places.values(), *(path for paths in others.values() for path in paths), file.name]
    return Listing(clips, unused_files(root, known, wanted.follow_links), dict(+left_out))


def label_file(root: Path, part: Part) -> Path:
    """The part's label file as delimited text.

    Raises:
        WrongRootError: there is none.
        UserError: there is a workbook only.
    """
    name = part.annotations
    found = first_match(root, f"{name}.csv", f"{name}.tsv", f"{name}.txt")
    if found:
        return found
    book = first_match(root, f"{name}.xlsx", f"{name}.xls")
    if book:
        raise UserError(
            f"{book.name} is a workbook, which cannot be read: open it in a spreadsheet program "
            f"and save its sheet in the same folder as {name}.csv (CSV, UTF-8)"
        )
    raise WrongRootError(f"{name}.csv (saved from {name}.xlsx)")


def labels(path: Path, part: Part, left_out: Counter[str]) -> dict[str, tuple[str, str | None]]:
    """Per clip where it is named, and its class; None where its word and its code disagree.

    Raises:
        UserError: a line says something impossible, two lines name two classes of a clip, or none
            names a clip.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for where, clip, label in annotated(path, part, left_out):
        first, said = found.setdefault(clip, (where, label))
        if said != label:
            raise UserError(f"{where}: {clip} has another class than in {first}")
        if first != where:
            left_out["further lines of the same clip"] += 1
    if not found:
        raise UserError(f"{path.name} lists no clip such as S001_001")
    return found


def annotated(
    path: Path, part: Part, left_out: Counter[str]
) -> Iterator[tuple[str, str, str | None]]:
    """Place, clip and class of each line; no class where its word and its code disagree.

    The class's word and code stand in the two columns after the clip's name, wherever that is.
    Lines before the first clip are headings; later ones that name no clip are counted in
    `left_out`.
    """
    lines = lines_of(path)
    delimiter = max(",;\t", key="\n".join(lines).count)
    begun = False
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
        found = [(place, match) for place, field in enumerate(fields) if (match := _clip(field))]
        if not found:
            left_out[f"lines of {path.name} without a clip"] += begun and any(fields)
            continue
        begun = True
        place, clip = found[0]
        where = f"line {number} of {path.name}"
        word, code = (*fields[place + 1 : place + 3], "", "")[:2]
        yield where, clip, label_of(word, code, part, where)


def label_of(word: str, code: str, part: Part, where: str) -> str | None:
    """The class, None where word and code name two.

    Raises:
        UserError: there is neither, or one of them is unknown.
    """
    if word.isdecimal():
        word, code = "", word
    said = []
    if word:
        known = (start for start in WORDS if word.lower().startswith(start))
        said.append(class_of(next(known, word), WORDS, where))
    if code.isdecimal():
        said.append(class_of(str(int(code)), part.codes, where))
    if not said:
        raise UserError(f"{where}: no class follows the clip's name")
    return said[0] if len(set(said)) == 1 else None


def others_videos(wanted: Wanted, part: Part) -> dict[str, list[str]]:
    """The videos of the parts that are not wanted."""
    return {
        name: [
            path.relative_to(wanted.root).as_posix()
            for folder in other.folders(wanted.root)
            for path in videos_below(folder, wanted.follow_links)
        ]
        for name, other in PARTS.items()
        if other is not part
    }


def _clip(field: str) -> str | None:
    found = _CLIP.fullmatch(field)
    return f"S{int(found[1]):03d}_{int(found[2]):03d}" if found else None
