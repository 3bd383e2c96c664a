"""Counts in messages and pages."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 clip`, `2 clips`; `nouns` is a plural that takes more than an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
