"""Data sets of the field at their true size, of tiny images: what ingest does with the number.

In every folder, the images that identify near-duplicates are unique, one in four of the first 32;
all others are hard links to one of a few hundred, so that millions need few inodes and no space.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SIDE = 16
# ext4 allows 65,000 links of a file: enough for 26 million images
POOL = 400
OWN = range(0, 32, 4)

AFEW_CLIPS = {
    "Angry": 197, "Disgust": 114, "Fear": 127, "Happy": 213, "Neutral": 207, "Sad": 178,
    "Surprise": 120,
}  # fmt: skip
AFEW_TRAIN = 773
AFEW_IMAGES = 100_048
# in truth 248 and 70: of the other 230 the labels are private, and ingest passes them over; here
# all 548 have labels, so that all 2.7 million images are looked at
AFFWILD2_PARTS = {"Train_Set": 478, "Validation_Set": 70}
AFFWILD2_FOLDERS = 548
AFFWILD2_IMAGES = 2_700_000
AFFWILD2_CLASSES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
DFEW_CLIPS, DFEW_LABELED, DFEW_FOLDS = 16_372, 11_697, 5
FERV_TRAIN, FERV_TEST, FERV_SCENES = 31_088, 7_847, 22
FERV_CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
# images of a DFEW clip resampled, and the most of a FERV39k clip here (in truth about 26)
RESAMPLED, FERV_MOST = 16, 12


class Writer:
    """Writes folders of images below a root, and counts them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._random = np.random.default_rng(0)
        pool = root / ".pool"
        pool.mkdir(parents=True)
        self._pool = []
        for number in range(POOL):
            path = pool / f"{number}.jpg"
            path.write_bytes(self.jpeg())
            self._pool.append(os.fspath(path))
        self._next = itertools.cycle(self._pool)
        self.images = 0
        self.folders: list[Path] = []

    def jpeg(self) -> bytes:
        """A gray image like no other, of about 350 bytes."""
        few = self._random.integers(0, 256, (4, 4), dtype=np.uint8)
        image = cv2.resize(few, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return cv2.imencode(".jpg", image)[1].tobytes()

    def folder(self, path: Path, names: Sequence[str], *, looked_at: bool = True) -> None:
        """A folder of images; those that ingest does not look at are links throughout."""
        path.mkdir(parents=True)
        prefix = f"{path}{os.sep}"
        for number, name in enumerate(names):
            if looked_at and number in OWN:
                with open(prefix + name, "wb") as file:  # noqa: PTH123 - 1.5 times as fast
                    file.write(self.jpeg())
            else:
                os.link(next(self._next), prefix + name)
        if looked_at:
            self.images += len(names)
            self.folders.append(path)

    def close(self) -> None:
        """The links stay."""
        for name in self._pool:
            Path(name).unlink()
        (self.root / ".pool").rmdir()


def inodes(scale: float, sets: Sequence[str]) -> int:
    """About how many a tree needs."""
    clips = {"afew": 1156, "affwild2": AFFWILD2_FOLDERS, "dfew": DFEW_CLIPS, "ferv39k": 38_935}
    own = {"afew": 8, "affwild2": 8, "dfew": 4, "ferv39k": 3}
    return int(scale * max(clips[name] * (own[name] + 2) for name in sets)) + POOL


def _lengths(count: int, total: int) -> list[int]:
    """Lengths of clips, from a fifth to nine fifths of the mean, that add up to a total."""
    rough = np.linspace(0.2, 1.8, count) * total / count
    lengths = np.floor(rough).astype(int)
    lengths[-1] += total - lengths.sum()
    mixed: list[int] = np.random.default_rng(0).permutation(lengths).tolist()
    return mixed


def _spread(scale: float, count: int) -> int:
    return max(2, round(scale * count))


def afew(write: Writer, scale: float) -> None:
    """Videos (empty: not looked at) and the provided faces of each."""
    clips = [
        (label, f"{number:09d}")
        for label, count in AFEW_CLIPS.items()
        for number in range(_spread(scale, count))
    ]
    order = np.random.default_rng(1).permutation(len(clips))
    train = set(order[: len(clips) * AFEW_TRAIN // sum(AFEW_CLIPS.values())].tolist())
    lengths = _lengths(len(clips), int(scale * AFEW_IMAGES))
    for row, ((label, name), length) in enumerate(zip(clips, lengths, strict=True)):
        part, points = ("Train_AFEW", "") if row in train else ("Val_AFEW", "_Val")
        clip = f"{list(AFEW_CLIPS).index(label)}{name}"
        video = write.root / part / label / f"{clip}.avi"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
        faces = write.root / part / f"AlignedFaces_LBPTOP_Points{points}" / "Faces" / clip
        write.folder(faces, [f"{number:06d}.jpg" for number in range(1, length + 1)])


def affwild2(write: Writer, scale: float) -> None:
    """Cropped faces of all videos, and a label per frame of those that train and validate."""
    folders = _spread(scale, AFFWILD2_FOLDERS)
    lengths = _lengths(folders, int(scale * AFFWILD2_IMAGES))
    numbers = iter(range(folders))
    for part, count in AFFWILD2_PARTS.items():
        labels = write.root / "Annotations" / "EXPR_Classification_Challenge" / part
        labels.mkdir(parents=True)
        for number in itertools.islice(numbers, _spread(scale, count)):
            # runs of about a second, some of them without a label
            codes = (np.arange(lengths[number]) // 30 + number) % 9 - 1
            text = "\n".join([AFFWILD2_CLASSES, *map(str, codes.tolist())])
            (labels / f"video{number}.txt").write_text(text + "\n")
            write.folder(_affwild2_folder(write, number), _one_based(lengths[number]))
    for number in numbers:
        names = _one_based(lengths[number])
        write.folder(_affwild2_folder(write, number), names, looked_at=False)


def _affwild2_folder(write: Writer, number: int) -> Path:
    return write.root / "cropped_aligned" / f"video{number}"


def _one_based(count: int) -> list[str]:
    return [f"{number:05d}.jpg" for number in range(1, count + 1)]


def dfew(write: Writer, scale: float) -> None:
    """The clips resampled to 16 images, all of one length, and the lists of five folds."""
    clips = _spread(scale, DFEW_CLIPS)
    labeled = range(1, _spread(scale, DFEW_LABELED) + 1)
    names = _one_based(RESAMPLED)
    for number in range(1, clips + 1):
        place = write.root / "Clip" / "clip_224x224_16f" / f"{number:05d}"
        write.folder(place, names, looked_at=number in labeled)
    for side in ("train", "test"):
        for fold in range(DFEW_FOLDS):
            path = write.root / "EmoLabel_DataSplit" / f"{side}(single-labeled)"
            path.mkdir(parents=True, exist_ok=True)
            rows = [
                f"{number},{number % 7 + 1}"
                for number in labeled
                if (number % DFEW_FOLDS == fold) == (side == "test")
            ]
            (path / f"set_{fold + 1}.csv").write_text("\n".join(["video_name,label", *rows]) + "\n")


def ferv39k(write: Writer, scale: float) -> None:
    """Faces cut out of 22 scenes, a few a clip, and the two lists."""
    lists = write.root / "4_setups" / "All_scenes"
    lists.mkdir(parents=True)
    numbers = itertools.count()
    for part, count in (("train", FERV_TRAIN), ("test", FERV_TEST)):
        rows = []
        for number in itertools.islice(numbers, _spread(scale, count)):
            label = FERV_CLASSES[number % 7]
            clip = f"Scene{number // 7 % FERV_SCENES}/{label}/{number:05d}"
            names = [f"{row:04d}.jpg" for row in range(number % FERV_MOST + 1)]
            write.folder(write.root / "2_ClipsforFaceCrop" / clip, names)
            rows.append(f"{clip} {label}")
        (lists / f"{part}_All.csv").write_text("\n".join(rows) + "\n")


SETS = {"afew": afew, "affwild2": affwild2, "dfew": dfew, "ferv39k": ferv39k}
