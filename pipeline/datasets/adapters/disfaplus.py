"""`dataset.name: disfaplus`: DISFA+, posed and spontaneous trials of nine of DISFA's people."""

from __future__ import annotations

import re
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.disfa import UNITS, checked_intensities, of_units
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
from arpgnet.pipeline.datasets.clip_targets import ClipTargets
from arpgnet.pipeline.datasets.label_files import lines_of
from arpgnet.pipeline.datasets.layout import first_match, folders_in, relative, unused_files
from arpgnet.pipeline.datasets.unit_files import of_lines

# before the first image's line
HEADER_LINES = 2

ABOUT = About(
    title="DISFA+ (Extended Denver Intensity of Spontaneous Facial Action)",
    classes=(),
    marks=("Labels/SN0*/*/AU1.txt", "Labels/SN0*/SN0*/*/AU1.txt"),
    layout="Labels/SN001/<trial>/AU1.txt and Images/SN001/<trial>/000.jpg",
    recipe=Recipe("loso", "leave one of 9 subjects out"),
    metric="f1",
    license="research, non-commercial, after a signed agreement",
    obtain="http://mohammadmahoor.com/disfa/",
    source="public loaders (names, two lines before the values, `000.jpg     intensity`, 9 people "
    "whose numbers are DISFA's, one of them left out at a time); Mavadati, Sanger and Mahoor, CVPR "
    "Workshops 2016. Not verified: the license's words, the number of trials, the rate of the "
    "images",
    expected=Expected(subjects=9),
)


def list_clips(wanted: Wanted) -> Listing:
    """A clip of each subject's trial, with the intensity of 12 units in every image; a unit is
    present from intensity 2 on.

    Raises:
        WrongRootError: there is no folder of labels or of images.
        UserError: a trial has no images, or a file is not as documented.
    """
    root = wanted.root
    labels, images = first_match(root, "Labels"), first_match(root, "Images")
    if labels is None or images is None:
        raise WrongRootError("folders Labels and Images with SN001/<trial>")
    clips, unlabeled = [], 0
    shown_in, files = [], []  # folders of images, and files of units
    for subject in folders_in(labels):
        if not re.fullmatch(r"SN\d+", subject.name, re.IGNORECASE):
            continue
        shown = {folder.name: folder for folder in _trials(images / subject.name)}
        for trial in _trials(subject):
            if trial.name not in shown:
                raise UserError(
                    f"disfaplus: {subject.name}/{trial.name} has labels, but there is no folder "
                    f"{images.name}/{subject.name}/{trial.name}"
                )
            targets, own = read_trial(trial)
            files += [relative(path, root) for path in own]
            shown_in.append(relative(shown.pop(trial.name), root))
            clips.append(
                ListedClip(
                    shown_in[-1],
                    None,
                    subject=subject.name.upper(),
                    where=relative(trial, root),
                    # names are numbers of frames
                    images=Images(fps=wanted.fps, first=0),
                    targets=(targets,),
                )
            )
        unlabeled += len(shown)
    if not clips:
        raise WrongRootError("folder Labels/SN001/<trial> with AU1.txt")
    remarks = ["a unit is present from intensity 2 on; people are DISFA's of the same numbers"]
    return Listing(
        clips,
        unused_files(root, [*shown_in, *files], wanted.follow_links),
        left_out={"trials without labels": unlabeled} if unlabeled else {},
        remarks=[*remarks, *checked_intensities("disfaplus", clips, len(files))],
    )


def read_trial(folder: Path) -> tuple[ClipTargets, list[Path]]:
    """Read a trial's files, one a unit; return its targets, and the files.

    Raises:
        UserError: there is none, or a line is not `000.jpg     intensity`.
    """
    found = {}
    for path in folder.glob("*.txt"):
        name = re.fullmatch(r"AU0*(\d+)\.txt", path.name, re.IGNORECASE)
        if name and int(name[1]) in UNITS:
            found[int(name[1])] = path
    if not found:
        raise UserError(f"disfaplus: no file AU<number>.txt in {folder.parent.name}/{folder.name}")
    units = {unit: _read(path, unit) for unit, path in sorted(found.items())}
    return of_units(units), list(found.values())


def _read(path: Path, unit: int) -> ClipTargets:
    """Return the intensities of a unit, by the number of the image."""
    lines = []
    for number, line in enumerate(lines_of(path), 1):
        image, _, value = line.partition(" ") if " " in line else line.partition("\t")
        stem = re.fullmatch(r"(\d+)\.(jpg|jpeg|png|bmp)", image, re.IGNORECASE)
        if stem:
            lines.append((number, stem[1], value))
        elif line and number > HEADER_LINES:
            raise UserError(
                f"line {number} of {path.name} in {folder_name(path)}: '{line[:40]}' is not "
                "<image> <intensity>, as in '000.jpg     0'"
            )
    return of_lines(f"{path.name} in {folder_name(path)}", unit, lines, first=0)


def folder_name(path: Path) -> str:
    """Return subject and trial of a file."""
    return "/".join(path.parts[-3:-1])


def _trials(folder: Path) -> list[Path]:
    """List the trials of a subject; some archives unpack into SN001/SN001."""
    inner = folder / folder.name
    return folders_in(inner if inner.is_dir() else folder)
