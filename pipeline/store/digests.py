"""Digests that keys are made of: of values and of files; for code see `pipeline.store.code`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:
    """Hash the parts as canonical JSON, sha256 (hex): equal values, equal digest, anywhere.

    Parts are None, bools, ints, finite floats, strings, lists, string-keyed mappings and
    pydantic models. Floats are written in their shortest exact form.

    Raises:
        TypeError: a part has no canonical form (a Path, bytes, an array, a set).
        ValueError: a float is not finite.
    """
    text = json.dumps(
        parts,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
        default=_plain,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(part: Any) -> Any:
    dump = getattr(part, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(part).__name__} has no canonical form for a key")
    return dump(mode="json")


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
