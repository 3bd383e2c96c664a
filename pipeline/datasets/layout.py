"""Folder layouts: folders with meaningful names, and their files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import resolve_inside

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
        *("mts", "ogv", "ts", "webm", "wmv"),
    )
)

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def split_folders(
    root: Path, setting: str = "dataset.root", item: str = "clip"
) -> list[tuple[str | None, Path]]:
    """Find the folders train, val, test of the root; the root itself if it contains the classes.

    Args:
        setting: that names the root, and
        item: what a class folder contains, for the message.

    Raises:
        UserError: split folders stand beside class folders.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not hidden(path, root))
    splits = [path for path in folders if path.name.lower() in SPLIT_NAMES]
    if splits and len(splits) < len(folders):
        other = next(path for path in folders if path not in splits)
        raise UserError(
            f"{setting}: '{splits[0].name}' looks like a split and '{other.name}' like a "
            f"class; use <class>/<{item}> or <split>/<class>/<{item}> throughout"
        )
    return [(SPLIT_NAMES[path.name.lower()], path) for path in splits] or [(None, root)]


def visible_files(root: Path) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden and not in a hidden folder."""
    return (path for path in root.rglob("*") if path.is_file() and not hidden(path, root))


def unused_files(root: Path, used: Iterable[str]) -> list[str]:
    """List the visible files that no clip uses, relative to the root, in order.

    Args:
        used: files, or folders of which everything is used, relative to the root; a used folder
            is not looked into.
    """
    taken = {root / name for name in used}
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and here / name not in taken
        )
        found += [
            (here / name).relative_to(root).as_posix()
            for name in names
            if not name.startswith(".") and here / name not in taken
        ]
    return sorted(found)


def hidden(path: Path, root: Path) -> bool:
    """Tell whether its name, or that of a folder between it and the root, starts with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def is_video(path: Path) -> bool:
    """Tell by the suffix; a dangling link is listed as a clip too, and will be quarantined."""
    return (
        path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or path.is_symlink())
    )


def videos_below(folder: Path) -> list[Path]:
    """List every visible video below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if is_video(path) and not hidden(path, folder))


def folders_in(folder: Path) -> list[Path]:
    """List the visible folders of a folder, in order; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def named_folders(root: Path, *names: str, depth: int = 3) -> list[Path]:
    """Find visible folders by name, ignoring case, at most `depth` levels below a root.

    Those of the first name come first, and of one name the nearest. A folder whose name is a number
    holds a clip's images and is not looked into.
    """
    order = {name.lower(): rank for rank, name in reversed(list(enumerate(names)))}
    level, found = [root], []
    for _ in range(depth):
        level = [
            path for folder in level for path in folders_in(folder) if not path.name.isdecimal()
        ]
        found += [path for path in level if path.name.lower() in order]
    return sorted(found, key=lambda path: order[path.name.lower()])


def relative(path: Path, root: Path) -> str:
    """Convert to POSIX, relative to the root, and check that it is inside.

    Raises:
        UserError: a link leads out of the root.
    """
    name = path.relative_to(root).as_posix()
    resolve_inside(root, name)
    return name


def first_match(root: Path, *names: str) -> Path | None:
    """Find the first of several paths, ignoring case, that exists below the root.

    Unpacked archives differ in the case of their folders. Each name is a path of plain parts.
    """
    for name in names:
        here: Path | None = root
        for part in Path(name).parts:
            here = here and _entry(here, part)
        if here is not None:
            return here
    return None


def _entry(folder: Path, name: str) -> Path | None:
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        return None
    same = sorted(path for path in folder.iterdir() if path.name.lower() == name.lower())
    return same[0] if same else None


def class_of(code: str, names: Mapping[str, str], where: str) -> str:
    """The class name that a set's code stands for.

    Raises:
        UserError: the code is unknown; the line names it, where it stands, and the known ones.
    """
    if code not in names:
        known = ", ".join(f"{key} ({name})" for key, name in names.items())
        raise UserError(f"{where}: unknown class '{code}'; known: {known}")
    return names[code]


def several_folds(fold_of: Mapping[str, int]) -> Mapping[str, int]:
    """Return folds by subject; none if all are the same.

    If a part of a set is within one of its folds, new folds are then made.
    """
    return fold_of if len(set(fold_of.values())) > 1 else {}


def every_nth(subjects: Iterable[str], folds: int) -> Mapping[str, int]:
    """Make folds of every n-th subject in the order of their names; see `several_folds`."""
    return several_folds({name: row % folds for row, name in enumerate(sorted(set(subjects)))})
