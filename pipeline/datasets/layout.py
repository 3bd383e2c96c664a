"""Folder layouts: folders with meaningful names, and their files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import identity

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


def walk(root: Path, follow_links: bool = False) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each visible folder with its visible folders and files, sorted, as `os.walk` does.

    The caller may remove folders that are not to be entered. With `follow_links`, linked folders
    are entered last, each folder once, and none that the root lies in, so that links in a circle
    end.
    """
    todo = [root]
    linked: list[Path] = []
    seen = {identity(folder) for folder in root.resolve().parents} if follow_links else set()
    while todo or linked:
        here = todo.pop() if todo else linked.pop(0)
        if follow_links:
            place = identity(here)
            if place is None or place in seen:
                continue
            seen.add(place)
        entries = sorted(_entries(here), key=lambda entry: entry.name)
        folders = [entry.name for entry in entries if _is_folder(entry)]
        links = {entry.name for entry in entries if entry.is_symlink()}
        known = set(folders)
        yield here, folders, [entry.name for entry in entries if entry.name not in known]
        todo += [here / name for name in reversed(folders) if name not in links]
        if follow_links:
            linked += [here / name for name in folders if name in links]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is visible in a folder; nothing if it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # of a link to itself, DirEntry.is_dir raises
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def visible_files(root: Path, follow_links: bool = False) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden and not in a hidden folder."""
    return (
        here / name
        for here, _, names in walk(root, follow_links)
        for name in names
        if (here / name).is_file()
    )


def unused_files(root: Path, used: Iterable[str], follow_links: bool = False) -> list[str]:
    """List the visible files that no clip uses, relative to the root, in order.

    A linked folder that is not followed, and that no clip uses, is listed itself.

    Args:
        used: files, or folders of which everything is used, relative to the root; a used folder
            is not looked into.
    """
    taken = {root / name for name in used}
    entered = {folder for path in taken for folder in path.parents}
    found: list[Path] = []
    for here, folders, names in walk(root, follow_links):
        folders[:] = [name for name in folders if here / name not in taken]
        found += [here / name for name in names if here / name not in taken]
        if not follow_links:
            found += [here / name for name in folders if _leads_out(here / name, root, entered)]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _leads_out(folder: Path, root: Path, entered: Collection[Path]) -> bool:
    """Tell whether it is a link out of the root, and none of the `entered` folders."""
    if not folder.is_symlink() or folder in entered:
        return False
    return not folder.resolve().is_relative_to(root.resolve())


def has_linked_folder(root: Path) -> bool:
    """Tell whether a visible folder below the root is a link that leads out of it."""
    return any(
        _leads_out(here / name, root, ()) for here, folders, _ in walk(root) for name in folders
    )


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


def videos_below(folder: Path, follow_links: bool = False) -> list[Path]:
    """List every visible video below a folder, in order."""
    return sorted(
        here / name
        for here, _, names in walk(folder, follow_links)
        for name in names
        if is_video(here / name)
    )


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
    """Convert to POSIX, relative to the root."""
    return path.relative_to(root).as_posix()


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
