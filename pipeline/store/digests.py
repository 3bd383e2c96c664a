"""Digests that keys are made of: of values, of files, and of our own code."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:
    """Sha256 (hex) of the parts as canonical JSON: equal values, equal digest, on any machine.

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
    """Sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_version(*names: str) -> str:
    """Digest of the source text of our own modules, e.g. `code_version("pipeline.video")`.

    A package stands for all `.py` files below it. Nothing but the packages above the
    named module is imported.

    Raises:
        ModuleNotFoundError: no such module.
    """
    sources: dict[str, str] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        origin = Path(spec.origin)
        if spec.submodule_search_locations is None:
            sources[name] = origin.read_text(encoding="utf-8")
            continue
        for file in sorted(origin.parent.rglob("*.py")):
            inner = file.relative_to(origin.parent).as_posix()
            sources[f"{name}/{inner}"] = file.read_text(encoding="utf-8")
    return digest(sources)
