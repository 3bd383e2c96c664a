"""Write files whole or not at all: bytes, folders, JSON and CSV."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError

_NOT_THEIRS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)


@contextmanager
def writing_to(place: Path, advice: str = "free some space, or fix the folder") -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into a UserError.

    Raises:
        UserError: names `place` and gives the advice.
        OSError: any other fault, as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"the disk of {place} is full: {advice}") from None
        if error.errno in _NOT_THEIRS:
            raise UserError(f"{place} cannot be written ({error.strerror}): {advice}") from None
        raise


def partial(target: Path) -> Path:
    """Return where a file or folder is made before it is moved; the next run makes it anew.

    One name, because only one run at a time writes a target: what a killed run left is used up.
    """
    return target.with_name(f"{target.name}.partial")


def write_whole(target: Path, data: bytes) -> None:
    """Put the whole file in place, or leave the former one.

    Raises:
        UserError: see `writing_to`.
    """
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial(target).write_bytes(data)
        partial(target).replace(target)


def replace_folder(fresh: Path, target: Path) -> None:
    """Put the finished folder `fresh` in the place of `target` (same file system)."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists() or target.is_symlink():
        target.unlink()
    fresh.rename(target)
