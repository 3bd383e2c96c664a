"""Recognize files in DVC's cache, which `cache.type symlink` links into the workspace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# files/md5/ab/<30 hexadecimal digits>; up to DVC 2 without the first two folders
_ENTRY = re.compile(r"(files/\w+/)?[0-9a-f]{2}/[0-9a-f]{30,}")


def in_dvc_cache(path: Path, root: Path) -> bool:
    """Tell whether a resolved path is a file in the cache of the DVC repository around `root`.

    The repository around the current folder counts too: a data set may lie outside of it.
    """
    return any(
        path.is_relative_to(folder)
        and _ENTRY.fullmatch(path.relative_to(folder).as_posix()) is not None
        for repository in _repositories(root, Path.cwd())
        for folder in (_cache_of(repository),)
    )


def _repositories(*places: Path) -> Iterator[Path]:
    """Yield the folder `.dvc` of the repository around each place."""
    for place in places:
        around = (folder / ".dvc" for folder in (place, *place.parents))
        yield from (folder for folder in around if folder.is_dir())


@cache
def _cache_of(repository: Path) -> Path:
    # imported here: it takes 0.3 s, and only links that leave a root need it
    from dvc.config import Config, ConfigError

    default = repository / "cache"
    try:
        return Path(Config(str(repository))["cache"].get("dir", default)).resolve()
    except ConfigError:
        return default.resolve()
