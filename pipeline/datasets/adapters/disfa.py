"""`dataset.name: disfa`: Denver Intensity of Spontaneous Facial Action."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import UserError
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
from arpgnet.pipeline.datasets.clip_targets import INTENSITY, ClipTargets
from arpgnet.pipeline.datasets.layout import first_match, folders_in, relative, unused_files
from arpgnet.pipeline.datasets.unit_files import read_intensities

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
# the usual protocol; some public code takes 1
PRESENT = 2
SIDES = {"left": "Left", "right": "Right"}
# the partition that JAA-Net, ME-GraphAU and others share
PARTS = (
    (1, 2, 9, 10, 16, 26, 27, 30, 32),
    (6, 11, 12, 13, 18, 21, 24, 28, 31),
    (3, 4, 5, 7, 8, 17, 23, 25, 29),
)

ABOUT = About(
    title="Denver Intensity of Spontaneous Facial Action (DISFA)",
    classes=(),
    marks=("ActionUnit_Labels/SN001", "Videos_LeftCamera", "Video*LeftCamera"),
    layout="ActionUnit_Labels/SN001/SN001_au1.txt and Videos_LeftCamera/LeftVideoSN001_comp.avi",
    recipe=Recipe("kfold", "3 folds of subjects, the usual parts P1, P2, P3", folds=3),
    metric="f1",
    license="research, non-commercial, after a signed agreement",
    obtain="http://mohammadmahoor.com/disfa/",
    source="public loaders (file names, frames from 1, parts of the 3 folds); Mavadati et al., "
    "IEEE Transactions on Affective Computing 2013 (27 people, 4,845 frames, intensities 0 to 5); "
    "not verified: the license's words",
    expected=Expected(clips=27, subjects=27),
    variants=tuple(SIDES),
)


def list_clips(wanted: Wanted) -> Listing:
    """A clip of each subject, with the intensity of 12 units in every frame; a unit is present from
    intensity 2 on. Fold 0 tests part P1, fold 1 P2, fold 2 P3.

    Raises:
        WrongRootError: there is no folder of labels.
        UserError: a subject has no video, or a file is not as documented.
    """
    root = wanted.root
    labels = first_match(root, "ActionUnit_Labels", "ActionUnitLabels")
    if labels is None:
        raise WrongRootError("folder ActionUnit_Labels with SN001/SN001_au1.txt")
    videos = _videos(root, SIDES[wanted.variant or "left"])
    clips, used = [], []
    for folder in folders_in(labels):
        found = re.fullmatch(r"SN0*(\d+)", folder.name, re.IGNORECASE)
        if not found:
            continue
        subject = int(found[1])
        fold = next((place for place, part in enumerate(PARTS) if subject in part), None)
        if fold is None:
            raise UserError(f"disfa: {folder.name} is in none of the 3 parts of the usual folds")
        if subject not in videos:
            raise UserError(
                f"disfa: {folder.name} has labels, but no video of the {wanted.variant} camera: "
                "see dataset.variant"
            )
        targets, files = read_subject(folder)
        path = relative(videos[subject], root)
        used += [path, *(relative(file, root) for file in files)]
        clips.append(
            ListedClip(
                path,
                None,
                subject=f"SN{subject:03d}",
                fold=fold,
                where=relative(folder, root),
                targets=(targets,),
            )
        )
    if not clips:
        raise WrongRootError("folder ActionUnit_Labels/SN001")
    return Listing(
        clips,
        unused_files(root, used, wanted.follow_links),
        remarks=[
            "fold 0 tests part P1, fold 1 P2, fold 2 P3; a unit is present from intensity 2 on",
            *checked_intensities("disfa", clips, len(used) - len(clips)),
        ],
    )


def read_subject(folder: Path) -> tuple[ClipTargets, list[Path]]:
    """Read a subject's files, one a unit; return its targets, and the files.

    Raises:
        UserError: there is none, or a line is not `frame,intensity`.
    """
    files = {}
    for path in sorted(folder.glob("*.txt")):
        found = re.search(r"_au0*(\d+)\.txt$", path.name, re.IGNORECASE)
        if found and int(found[1]) in UNITS:
            files[int(found[1])] = path
    if not files:
        raise UserError(f"disfa: no file <subject>_au<number>.txt in {folder.name}")
    # the files count from 1
    units = {unit: read_intensities(path, unit, first=1) for unit, path in files.items()}
    return of_units(units), list(files.values())


def of_units(units: Mapping[int, ClipTargets]) -> ClipTargets:
    """Return presence and intensity of all units, in all frames that any of them has."""
    known = [(one.frames, one.values[:, 0]) for one in units.values() if one.frames is not None]
    frames = np.unique(np.concatenate([numbers for numbers, _ in known]))
    strength = np.full((len(frames), len(known)), np.nan)
    for column, (numbers, values) in enumerate(known):
        strength[np.searchsorted(frames, numbers), column] = values
    presence = np.where(np.isnan(strength), np.nan, strength >= PRESENT)
    names = [f"au_{unit}" for unit in units] + [f"au_{unit}{INTENSITY}" for unit in units]
    both = np.concatenate([presence, strength], axis=1).astype(np.float32)
    return ClipTargets(tuple(names), both, frames)


def checked_intensities(name: str, clips: Iterable[ListedClip], files: int) -> list[str]:
    """Remark on the files of units that are absent.

    Args:
        name: of the data set.
        files: how many there are.

    Raises:
        UserError: nothing is present: no file has an intensity above 1, as in files of occurrence.
    """
    clips = list(clips)
    highest = max(float(np.nanmax(one.values, initial=0)) for clip in clips for one in clip.targets)
    if highest < PRESENT:
        raise UserError(
            f"{name}: no intensity above {highest:g} in any of {plural(files, 'file')}: are these "
            "occurrences? its files hold intensities from 0 to 5, of which present is 2 or more"
        )
    lacking = len(UNITS) * len(clips) - files
    if not lacking:
        return []
    return [f"{plural(lacking, 'file')} of a clip's unit absent: not annotated"]


def _videos(root: Path, side: str) -> dict[int, Path]:
    """Return the videos of a camera by the number of the subject."""
    folder = first_match(root, f"Videos_{side}Camera", f"Video_{side}Camera")
    if folder is None:
        raise WrongRootError(f"folder Videos_{side}Camera with {side}VideoSN001_comp.avi")
    found = {}
    for path in sorted(folder.iterdir()):
        name = re.match(rf"{side}VideoSN0*(\d+)", path.name, re.IGNORECASE)
        if name:
            found[int(name[1])] = path
    return found
