"""Clips that are folders of images: what lies in one, whether it changed, and its bytes.

Aff-Wild2's cropped faces are 2.7 million files in 548 folders: a folder is listed once, its
files are looked at in the order of their numbers, and a list of lengths and times of change
stands for their bytes until one of them differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import ClipError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_DIGITS = re.compile(r"[0-9]+")
# a frame's number is stored as int32: a date with a time of day is none
_MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class ImageFolder:
    """A folder's images: their names, and the frame of the video that each one is.

    Shapes:
        index: [n] int64, strictly increasing, from 0.
    """

    folder: Path
    names: list[str]
    index: np.ndarray

    @property
    def frames(self) -> int:
        """Frames from the video's first one to the last that has an image."""
        return int(self.index[-1]) + 1


def read_folder(folder: Path, first: int | None) -> ImageFolder:
    """Return the images of a folder, by suffix, hidden ones aside.

    Args:
        first: the number in the name of the video's first frame, where numbers count its frames
            and may have gaps; None: the images follow one another as their names sort, numbers
            by their value.

    Raises:
        ClipError: there is none, or a name has no number, a number twice, or one before `first`.
        OSError: the folder is gone or may not be read.
    """
    names = [name for name, _ in _entries(folder)]
    if not names:
        raise ClipError("no image in the folder")
    if first is None:
        return ImageFolder(folder, sorted(names, key=natural), np.arange(len(names)))
    numbers = np.array([_number(name) for name in names], np.int64) - first
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    if numbers[0] < 0:
        raise ClipError(f"'{names[order[0]]}' has a number before the first frame's, {first}")
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if len(twice):
        a, b = names[order[twice[0]]], names[order[twice[0] + 1]]
        raise ClipError(f"'{a}' and '{b}' have the same number")
    return ImageFolder(folder, [names[row] for row in order], numbers)


def is_jpeg(data: bytes) -> bool:
    """Check the first bytes, whatever the file is called."""
    return data[:2] == b"\xff\xd8"


def decode_image(data: bytes) -> np.ndarray | None:
    """Decode an image as uint8 RGB [H,W,3], gray and other depths converted, turned as it asks for;
    None where the bytes are no whole image."""
    import cv2

    # a JPEG that was cut would be shown with a gray rest: its last scan must have an end
    if not data or (is_jpeg(data) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")):
        return None
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        # its head says more than 2^30 pixels
        return None
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def first_image(images: ImageFolder) -> np.ndarray:
    """Return the first of a folder's images that can be read.

    Raises:
        ClipError: none can.
    """
    for name in images.names:
        image = decode_image((images.folder / name).read_bytes())
        if image is not None:
            return image
    raise ClipError(f"none of {len(images.names)} images can be read")


def folder_state(folder: Path) -> str:
    """Hash the images' names, lengths and times of change: equal while nothing changed.

    Raises:
        OSError: the folder is gone or may not be read.
    """
    sums = hashlib.sha256()
    with _opened(folder) as place:
        for name, status in sorted(_entries(place, text_too=True, stat=True)):
            sums.update(os.fsencode(name) + f"\0{status}\0".encode())
    return sums.hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hash the images' names and bytes (and the text files' beside them), in order of names.

    Raises:
        OSError: a file cannot be read.
    """
    sums = hashlib.sha256()
    with _opened(folder) as place:
        for name, _ in sorted(_entries(place, text_too=True)):
            # 2.7 million files: without Python's file objects a third of the time
            file = os.open(name, os.O_RDONLY, dir_fd=place)
            try:
                data = hashlib.sha256()
                while block := os.read(file, 1 << 16):
                    data.update(block)
            finally:
                os.close(file)
            sums.update(os.fsencode(name) + b"\0" + data.digest())
    return sums.hexdigest()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open the folder's descriptor: without the way to it for each file a quarter of the time."""
    place = os.open(folder, os.O_RDONLY)
    try:
        yield place
    finally:
        os.close(place)


def _entries(
    folder: Path | int, *, text_too: bool = False, stat: bool = False
) -> list[tuple[str, str]]:
    """Yield (name, length and time of change if requested) of the images, in no fixed order."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            suffix = name[name.rfind(".") :].lower()
            if name[0] == "." or not (suffix in IMAGE_SUFFIXES or (text_too and suffix == ".txt")):
                continue
            status = ""
            if stat:
                seen = entry.stat()
                status = f"{seen.st_size} {seen.st_mtime_ns}"
            found.append((name, status))
    return found


def _number(name: str) -> int:
    digits = _DIGITS.findall(name.rpartition(".")[0])
    if not digits:
        raise ClipError(f"'{name}' has no number")
    if int(digits[-1]) > _MAX_NUMBER:
        raise ClipError(f"'{name}': no number of a frame, larger than {_MAX_NUMBER}")
    return int(digits[-1])


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers inside names by their value: s2 before s10."""
    # parts are text, number, text, ...
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
