"""What a store holds, told so that a result that was computed again is noticed."""

import contextlib
from pathlib import Path


def finished(store: Path) -> dict[Path, int]:
    """Inodes of the clips' results and finished training runs; not of unfinished ones' states."""
    kinds = {".table", ".failure", ".folder"}
    found = {}
    for path in store.glob("*/*/*"):
        if path.suffix in kinds:
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.stat().st_ino
    return found
