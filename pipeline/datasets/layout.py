"""Folders whose names say something: classes, and splits above them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.base import SPLIT_NAMES
from pipeline.errors import UserError


def split_folders(
    root: Path, setting: str = "dataset.root", item: str = "clip"
) -> list[tuple[str | None, Path]]:
    """The folders train, val, test of the root; the root itself when it holds the classes.

    Args:
        setting: that names the root, and
        item: what lies in a class, for the message.

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
    """Every file below a folder that neither is hidden nor lies in a hidden folder."""
    return (path for path in root.rglob("*") if path.is_file() and not hidden(path, root))


def hidden(path: Path, root: Path) -> bool:
    """Whether its name, or that of a folder between it and the root, begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)
