"""Files of DVC that a run, killed while DVC wrote them, leaves half written.

DVC 3.67 empties `dvc.lock` (after each stage) and `.dvc/tmp/rwlock` (before and after each) before
it writes them anew, and refuses both when they are not whole.
"""

from __future__ import annotations

import json
from pathlib import Path

LOCK = Path("dvc.lock")
ACCESS = Path(".dvc/tmp/rwlock")


def damaged(root: Path = Path()) -> list[Path]:
    """Return those of them that DVC would refuse, relative to `root`.

    Deleting them loses nothing: DVC writes them again, and what the stages had finished comes from
    the store.
    """
    return [
        path
        for path, whole in ((LOCK, _is_lock), (ACCESS, _is_json))
        if (root / path).exists() and not whole(root / path)
    ]


def remove_damaged(root: Path = Path()) -> list[Path]:
    """Delete them; returns which."""
    found = damaged(root)
    for path in found:
        (root / path).unlink()
    return found


def _is_lock(path: Path) -> bool:
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except DvcException:
        return False
    return True


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
