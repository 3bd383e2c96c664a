"""Counts in messages and pages."""

from __future__ import annotations

# the unit of an interval that needs an explanation
NEAR_DUPLICATES = "near-duplicate group"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 clip`, `2 clips`; `nouns` is a plural that takes more than an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def unit_note(unit: str) -> str:
    """Say what a unit of an interval is, with a blank before it; empty where its name does."""
    if unit != NEAR_DUPLICATES:
        return ""
    return " (clips of the same images, file or group; any other clip is a group of its own)"
