"""A clip's file or folder of images: its metadata, and whether it changed."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.wording import stored
from arpgnet.pipeline.datasets import fingerprint
from arpgnet.pipeline.store import digest, file_sha256
from arpgnet.pipeline.video.image_folder import (
    first_image,
    folder_sha256,
    folder_state,
    read_folder,
)

NOT_FOUND = "file not found"
NOT_A_FILE = "not a file"
NOT_ALLOWED = "file may not be read"


@dataclass(frozen=True)
class Media:
    """A clip's file; or a folder of images, with the number of the first frame and the folder of
    their landmarks (see `pipeline.tables.manifest.Clip`)."""

    path: Path
    image_sequence: bool = False
    first: int | None = None
    landmarks: Path | None = None

    @property
    def key(self) -> str:
        """The absolute path, and what else determines the metadata."""
        if not self.image_sequence:
            return stored(str(self.path))
        return stored(f"{self.path} {self.first} {self.landmarks or ''}".rstrip())

    def folders(self) -> list[Path]:
        """The folders with the images and everything about them."""
        return [self.path, self.landmarks] if self.landmarks else [self.path]


@dataclass(frozen=True)
class FileMetadata:
    """A file's sha256 (empty if unreadable), its format, and why it cannot be used, if so."""

    sha256: str = ""
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None


# metadata, and the fingerprint if there is one
Seen = tuple[FileMetadata, np.ndarray | None]


def examine(media: Media) -> Seen:
    """Read a whole file. If it is absent, unreadable, empty or not a video, it has a `reason`."""
    try:
        if media.image_sequence:
            metadata = FileMetadata(sha256=digest(*map(folder_sha256, media.folders())))
        elif not media.path.is_file():
            return FileMetadata(reason=NOT_A_FILE if media.path.exists() else NOT_FOUND), None
        else:
            metadata = FileMetadata(sha256=file_sha256(media.path))
    except OSError:
        return FileMetadata(reason=NOT_ALLOWED), None
    try:
        if media.image_sequence:
            folder = read_folder(media.path, media.first)
            first = first_image(folder)
            metadata = replace(
                metadata, frames=folder.frames, width=first.shape[1], height=first.shape[0]
            )
            return metadata, fingerprint.image_thumbnails(folder)
        return _examine_video(media.path, metadata)
    except ClipError as error:
        return FileMetadata(sha256=metadata.sha256, reason=error.reason), None


def whole_thumbnails(media: Media) -> np.ndarray:
    """Compute the fingerprint of a whole readable clip, uint8 [n, side, side]."""
    if media.image_sequence:
        folder = read_folder(media.path, media.first)
        return fingerprint.image_thumbnails(folder, fingerprint.WHOLE)
    return fingerprint.thumbnails(media.path, fingerprint.WHOLE)


def state(media: Media) -> str | None:
    """Return length and modification time, of a folder those of all its images; None: absent."""
    return _folder_state(media) if media.image_sequence else file_state(media.path)


def file_state(path: Path) -> str | None:
    """Return length and modification time of a file; None: absent."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path.stat costs twice as much
    except OSError:
        return None
    return f"{status.st_size} {status.st_mtime_ns}"


def _folder_state(media: Media) -> str | None:
    try:
        return " ".join(folder_state(folder) for folder in media.folders())
    except OSError:
        return None


def _examine_video(path: Path, metadata: FileMetadata) -> Seen:
    """Opened once for both: that is 3 ms of the 15 which a clip of 256 px takes."""
    from arpgnet.pipeline.video.container import decoded, describe, first_frame, open_video

    names = ("fps", "frames", "duration_s", "width", "height")
    with open_video(path) as (container, stream):
        frames = decoded(container, stream)
        first = first_frame(frames)
        seen = describe(container, stream, first)
        metadata = replace(metadata, **{name: getattr(seen, name) for name in names})
        return metadata, fingerprint.frame_thumbnails(itertools.chain([first], frames))
