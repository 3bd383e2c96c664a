"""Data sets of action units, valence and arousal in their true layout, of rendered faces.

Their codes are the rendered truth: of each frame intensities from 0 to 5, present from 2 on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2

from arpgnet.pipeline.datasets.adapters import bp4d, disfa
from arpgnet.pipeline.demo import ACTION_UNITS, RenderedFrame
from arpgnet.pipeline.geometry.alignment import CROP_PX
from helpers.dataset_trees import text
from helpers.rendered_trees import avi, take, write_crops

# everybody shows both, one behind the other: units that come and go
SHOWN = ("happiness", "surprise")
# of which every set has codes
LEARNED = ["au_1", "au_2", "au_12"]
AFFWILD_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
TRIAL = "Z_{}_TrailNo_1"


def clip(subject: int) -> list[RenderedFrame]:
    """A person's frames, in every second of which something is shown."""
    return [frame for label in SHOWN for frame in take(subject, label)]


def strength(frame: RenderedFrame, unit: int) -> int:
    """How strong a unit is, 0 to 5; 0 of one that the renderer does not have."""
    sides = [place for place, name in enumerate(ACTION_UNITS) if name.strip("AULR") == str(unit)]
    return round(5 * max((float(frame.action_units[place]) for place in sides), default=0.0))


def presence(frame: RenderedFrame, units: Iterable[int]) -> list[int]:
    return [int(strength(frame, unit) >= disfa.PRESENT) for unit in units]


def write_bp4d(root: Path, tasks: Sequence[str], images: str, start: int = 0) -> int:
    """A task a person: codes of all frames but the first two, 9 in every seventh cell of a unit;
    returns how many frames are coded.

    Args:
        tasks: as F001_T1.
        images: the folder of the people's images, below the root.
        start: what the codes call the first image, whose name is 000.jpg.
    """
    coded = 0
    units = sorted({*bp4d.UNITS, 5, 9})
    for number, task in enumerate(tasks):
        subject, _, name = task.partition("_")
        frames = clip(number)
        lines = [",".join(map(str, [start, *units]))]
        strengths = []
        for place, frame in enumerate(frames):
            write_image(root / images / subject / name / f"{place:03d}.jpg", frame)
            if place >= 2:
                codes = presence(frame, units)
                codes[units.index(24)] = 9 if place % 7 == 3 else codes[units.index(24)]
                lines.append(",".join(map(str, [place + start, *codes])))
                strengths.append(f"{place + start},{strength(frame, 12)}")
        text(root / f"AUCoding/AU_OCC/{task}.csv", "\n".join(lines) + "\n")
        text(root / f"AUCoding/AU_INT/AU12/{task}_AU12.csv", "\n".join(strengths) + "\n")
        coded += len(lines) - 1
    return coded


def write_disfa(root: Path, subjects: Sequence[int]) -> int:
    """A video a person; returns how many frames there are."""
    total = 0
    for number, subject in enumerate(subjects):
        name, frames = f"SN{subject:03d}", clip(number)
        avi(root / f"Videos_LeftCamera/LeftVideo{name}_comp.avi", frames)
        for unit in disfa.UNITS:
            lines = [f"{place},{strength(frame, unit)}" for place, frame in enumerate(frames, 1)]
            text(root / f"ActionUnit_Labels/{name}/{name}_au{unit}.txt", "\n".join(lines) + "\n")
        total += len(frames)
    return total


def write_disfaplus(root: Path, subjects: Sequence[int]) -> int:
    """A trial of each expression of a person; returns how many images there are."""
    total = 0
    for number, subject in enumerate(subjects):
        for label in SHOWN:
            here, frames = f"SN{subject:03d}/{TRIAL.format(label)}", take(number, label)
            for place, frame in enumerate(frames):
                write_image(root / "Images" / here / f"{place:03d}.jpg", frame)
            for unit in disfa.UNITS:
                lines = [f"{place:03d}.jpg     {strength(frame, unit)}"
                         for place, frame in enumerate(frames)]  # fmt: skip
                head = [f"Intensity of AU{unit}", "Image     Intensity"]
                text(root / f"Labels/{here}/AU{unit}.txt", "\n".join([*head, *lines]) + "\n")
            text(root / f"Images/{here}/TimeStamp.txt", "0\n")
            total += len(frames)
    return total


def write_affwild2(root: Path) -> dict[str, int]:
    """Crops, and lines of action units and of affect; returns how many frames of Validation_Set are
    annotated in each.

    Every fifth frame has no affect, every tenth no units, and the fourth unit none in every third.
    """
    parts = {"Train_Set": ["1-30-640x360", "video2", "video3"], "Validation_Set": ["video4"]}
    folders = {"au": "AU_Detection_Challenge", "va": "VA_Estimation_Challenge"}
    head = {"au": ",".join(f"AU{unit}" for unit in AFFWILD_UNITS), "va": "valence,arousal"}
    counted = dict.fromkeys(folders, 0)
    subject = 0
    for part, stems in parts.items():
        for stem in stems:
            frames = clip(subject)
            subject += 1
            write_crops(
                root / "cropped_aligned" / stem,
                frames,
                range(1, len(frames) + 1),
                CROP_PX,
                "{:05d}.jpg",
            )
            lines: dict[str, list[str]] = {"au": [], "va": []}
            for place, frame in enumerate(frames):
                lines["au"].append(",".join(map(str, _units(frame, place))))
                lines["va"].append(_affect(frame, place))
            for kind, folder in folders.items():
                content = "\n".join([head[kind], *lines[kind]])
                text(root / f"Annotations/{folder}/{part}/{stem}.txt", content + "\n")
            if part == "Validation_Set":
                counted["au"] += sum(place % 10 != 4 for place in range(len(frames)))
                counted["va"] += sum(place % 5 != 4 for place in range(len(frames)))
    return counted


def write_image(path: Path, frame: RenderedFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame.image[:, :, ::-1])


def _units(frame: RenderedFrame, place: int) -> list[int]:
    if place % 10 == 4:
        return [-1] * len(AFFWILD_UNITS)
    codes = presence(frame, AFFWILD_UNITS)
    if place % 3 == 1:
        codes[3] = -1
    return codes


def _affect(frame: RenderedFrame, place: int) -> str:
    """What the face shows of happiness and surprise, as far as it goes."""
    if place % 5 == 4:
        return "-5,-5"
    smile, brows = strength(frame, 12) / 5, strength(frame, 2) / 5
    return f"{0.8 * smile:.3f},{0.3 * smile + 0.7 * brows - 0.2:.3f}"
