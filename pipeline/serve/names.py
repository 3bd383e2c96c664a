"""Names that clients send: a file's name is only displayed, a path stays below a root."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

from arpgnet.pipeline.common.errors import UserError

UNNAMED = "video"
_LONGEST = 120
# what a spreadsheet interprets as the start of a formula
_FORMULA = "=+-@"


def shown_name(name: str) -> str:
    """Clean a client's name for a file, for a table and, escaped, for a page.

    Without folders, control characters and those that turn the direction of writing; at most
    `_LONGEST` characters.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(sign for sign in last if unicodedata.category(sign)[0] != "C").strip()
    if name.startswith(tuple(_FORMULA)):
        name = f"_{name}"
    return name[:_LONGEST] or UNNAMED


def below(root: Path, name: str) -> Path:
    """Resolve a client's path below the root, links followed.

    Raises:
        UserError: it is absent, no file, or outside; one line for all, which tells nothing of
            what is outside.
    """
    refused = UserError(f"{shown_name(name)}: no such file in the service's folder")
    path = PurePosixPath(name)
    if "\\" in name or path.is_absolute() or ".." in path.parts:
        raise refused
    try:
        found = (root / path).resolve(strict=True)
        inside = found.is_relative_to(root.resolve(strict=True)) and found.is_file()
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    if not inside:
        raise refused
    return found
