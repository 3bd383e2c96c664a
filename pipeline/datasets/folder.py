"""`dataset.name: folder`: the folders' names are the labels."""

from __future__ import annotations

from pathlib import Path

from pipeline.clips import resolve_inside
from pipeline.config import DatasetParams
from pipeline.datasets.base import ListedClip, Listing
from pipeline.datasets.layout import hidden, split_folders, visible_files
from pipeline.datasets.root import resolve_root
from pipeline.errors import UserError

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
        *("mts", "ogv", "ts", "webm", "wmv"),
    )
)


def dataset_root(params: DatasetParams) -> Path:
    """The folder named by `dataset.root`."""
    return resolve_root(params.root or "")


def list_clips(params: DatasetParams, workers: int = 1) -> Listing:
    """The videos at `<class>/<clip>` or `<split>/<class>/<clip>`.

    Hidden files are passed over in silence; files that are not videos by their suffix, or
    that lie higher or deeper than the layout says, are returned as `unused`.

    Raises:
        UserError: split folders and class folders are mixed, no video lies where one is
            looked for, or a video is a link that leads out of the root.
    """
    root = dataset_root(params)
    clips: list[ListedClip] = []
    used: set[Path] = set()
    for split, folder in split_folders(root):
        for path in sorted(folder.glob("*/*")):
            if _is_video(path, root):
                relative = path.relative_to(root).as_posix()
                resolve_inside(root, relative)
                clips.append(ListedClip(relative, path.parent.name, split=split, where=relative))
                used.add(path)
    if not clips:
        raise UserError(
            f"dataset.root: no video at <class>/<clip> or <split>/<class>/<clip> in {root}"
        )
    unused = sorted(
        path.relative_to(root).as_posix() for path in visible_files(root) if path not in used
    )
    return Listing(clips, unused)


def _is_video(path: Path, root: Path) -> bool:
    # a link that leads nowhere is no file, yet named as a clip: it is listed and quarantined
    is_file = path.is_file() or path.is_symlink()
    return is_file and path.suffix.lower() in VIDEO_SUFFIXES and not hidden(path, root)
