"""Write files whole or not at all: bytes, folders, JSON and CSV."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError

# the disk, a quota or the longest file
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_THEIRS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)
# the name is too long, or the file system takes UTF-8 only
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})


@contextmanager
def writing_to(place: Path, advice: str = "free some space, or fix the folder") -> Iterator[None]:
    """Turn a full disk, an impossible name or a folder without permission into a UserError.

    Raises:
        UserError: names `place` and gives the advice.
        OSError: any other fault, as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"the disk of {place} is full: {advice}") from None
        if error.errno in _NO_NAME:
            raise UserError(
                f"{place}: not a possible name ({error.strerror}): choose another one"
            ) from None
        if error.errno in _NOT_THEIRS:
            raise UserError(f"{place} cannot be written ({error.strerror}): {advice}") from None
        raise


def partial(target: Path) -> Path:
    """Return where a file or folder is made before it is moved; the next run makes it anew.

    One name, because only one run at a time writes a target: what a killed run left is used up.
    """
    return target.with_name(f"{target.name}.partial")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Make a file under another name, yielded here; put it in place, or remove it after a fault.

    Raises:
        UserError: see `writing_to`.
    """
    fresh = partial(target)
    with writing_to(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield fresh
            fresh.replace(target)
        except BaseException:
            # a part of a file would take the room of the next one
            remove(fresh)
            raise


def write_whole(target: Path, data: bytes) -> None:
    """Put the whole file in place, or leave the former one.

    Raises:
        UserError: see `writing_to`.
    """
    with replacing(target) as fresh:
        fresh.write_bytes(data)


def remove(path: Path) -> None:
    """Remove a file that is of no use, if it is there and can be removed."""
    with suppress(OSError):
        path.unlink()


def replace_folder(fresh: Path, target: Path) -> None:
    """Put the finished folder `fresh` in the place of `target` (same file system)."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists() or target.is_symlink():
        target.unlink()
    fresh.rename(target)


@contextmanager
def new_folder(target: Path, name: str, metadata: Mapping[str, Any]) -> Iterator[Path]:
    """Give an empty folder that takes the place of `target` when the block ends well.

    `metadata`, as the block leaves it, is written into its file `name`.

    Raises:
        UserError: see `writing_to`; not of what the block itself writes.
    """
    fresh = partial(target)
    with writing_to(target):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    yield fresh
    with writing_to(target):
        text = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
        (fresh / name).write_text(text, encoding="utf-8")
        replace_folder(fresh, target)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of a file or folder; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
