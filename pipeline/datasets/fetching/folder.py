"""The folder that a data set is fetched into: what is there, what fits, who writes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import write_whole, writing_to
from arpgnet.pipeline.datasets.fetching.table import GB

# hidden, so that no adapter reads what is unfinished
WORK = ".fetch"
STATE = "state.json"
# what else writes to a disk in the meantime
RESERVE = 0.2e9


@contextmanager
def opened(root: Path) -> Iterator[Path]:
    """Make the root and yield its folder for unfinished files, to one process at a time.

    Raises:
        UserError: it cannot be written, or another process fetches into it.
    """
    with writing_to(root, "choose another folder, or fix this one"):
        work = root / WORK
        work.mkdir(parents=True, exist_ok=True)
        if work.is_symlink():
            raise UserError(f"{work} is a link: remove it")
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{root}: another process is fetching into it") from None
            yield work


def read_state(work: Path) -> dict[str, Any]:
    """Return what earlier runs finished; nothing where it cannot be read."""
    try:
        found = json.loads((work / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_state(work: Path, state: dict[str, Any]) -> None:
    """Remember what is finished."""
    write_whole(work / STATE, json.dumps(state, indent=1, sort_keys=True).encode())


def check_space(root: Path, needed: float, what: str) -> None:
    """Compare what is needed with what is free.

    Raises:
        UserError: it does not fit; nothing has been written then.
    """
    free = free_bytes(root)
    if needed + RESERVE > free:
        raise UserError(
            f"{what} needs {(needed + RESERVE) / GB:.2f} GB of disk, and {root} has "
            f"{free / GB:.2f} GB free: free some space, or choose another folder"
        )


def free_bytes(folder: Path) -> int:
    """Return the bytes that are free on a folder's disk."""
    return shutil.disk_usage(folder).free


def inside(root: Path, name: str, where: str) -> Path:
    """Return the path of a publisher's file, which lies below the root whatever its name says.

    Raises:
        UserError: the name leads out of the root, or through a link.
    """
    parts = PurePosixPath(name).parts
    odd = "\\" in name or "\0" in name or ":" in name
    if not parts or odd or name.startswith("/") or ".." in parts or parts[0] == WORK:
        raise UserError(f"{where}: the name {name!r} leads out of the folder: nothing was unpacked")
    path = root.joinpath(*parts)
    for folder in list(path.parents)[: len(parts) - 1]:
        if folder.is_symlink():
            raise UserError(f"{folder} is a link: remove it, or choose another folder")
    return path


def put(part: Path, target: Path) -> None:
    """Move a checked file to its place; a link there is replaced, not followed."""
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)  # noqa: PTH105
