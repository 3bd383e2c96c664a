"""`SHA256SUMS`: a digest for every file of a folder but the card, in the form of `sha256sum`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import joined
from arpgnet.pipeline.store import file_sha256

SUMS = "SHA256SUMS"
# the card has no sum: whoever publishes it states the license in it, and hubs edit its header
README = "README.md"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of all files in the folder but the card, in the order of their names."""
    names = sorted(_files(folder) - {SUMS})
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path) -> int:
    """Verify every file that has a sum; return their number.

    Raises:
        UserError: there are no sums, or they are damaged; a file is absent, has other bytes, is a
            link, or is not listed. The line names the first few.
    """
    listed = _read(folder)
    there = _files(folder) - {SUMS}
    problems = [f"{name} is absent" for name in sorted(listed.keys() - there)]
    problems += [f"{name} is not listed in {SUMS}" for name in sorted(there - listed.keys())]
    for name in sorted(listed.keys() & there):
        path = folder / name
        try:
            if path.is_symlink():
                problems.append(f"{name} is a link")
            elif file_sha256(path) != listed[name]:
                problems.append(f"{name} has other bytes than {SUMS} says")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
    if problems:
        raise UserError(f"{folder}: {joined(problems)}: download the folder again")
    return len(listed)


def _files(folder: Path) -> set[str]:
    """List the files, without the card and what Git and hubs add (.git, .gitattributes, .cache)."""
    names = {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return {
        name.as_posix()
        for name in names
        if not name.parts[0].startswith(".") and name.as_posix() != README
    }


def _read(folder: Path) -> dict[str, str]:
    """Read the name and sha256 of every line."""
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"{path} cannot be read: {folder} is not a folder that `arpgnet publish` wrote"
        ) from None
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = LINE.fullmatch(line)
        if not found or not _inside(found[2]) or found[2] in listed:
            raise UserError(f"{path}, line {number} is damaged: download the folder again")
        listed[found[2]] = found[1]
    if not listed:
        raise UserError(f"{path} is empty: download the folder again")
    return listed


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name
