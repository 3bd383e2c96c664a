"""Counts and names in messages and pages."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Sequence

# controls (a new line, the start of a terminal's command), halves of characters, line ends
_ESCAPED = frozenset({"Cc", "Cs", "Zl", "Zp"})

# the unit of an interval that needs an explanation
NEAR_DUPLICATES = "near-duplicate group"

# of the scores of a task the first one here judges; those of targets are means over them
SCORE_NAMES = {
    "uar": "UAR",
    "war": "WAR",
    "macro_f1": "macro-F1",
    "f1": "mean F1",
    "icc": "mean ICC(3,1)",
    "ccc": "mean CCC",
    "mae": "mean MAE",
    "rmse": "mean RMSE",
}

# faults of one kind that one line names; the user sees that there are more
MOST_FAULTS = 5


def joined(faults: Sequence[str], most: int = MOST_FAULTS) -> str:
    """Return the faults as one line, of many the first ones and the number of the others.

    Who fixes one and tries again, for each of many, needs as many tries.
    """
    more = len(faults) - most
    return "; ".join(faults[:most]) + (f"; and {more} more" if more > 0 else "")


def first_score(scores: Collection[str]) -> str:
    """Return the score that judges, of those of a task."""
    return next(name for name in SCORE_NAMES if name in scores)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 clip`, `2 clips`; `nouns` is a plural that takes more than an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def shown(name: str | os.PathLike[str]) -> str:
    r"""Return a name, or a text with names in it, as one line that every output can hold.

    On Linux a name is any bytes. Those that are not UTF-8 (Python's lone surrogates) become
    `\xe9`, and new lines and other controls `\n`, `\x1b`.
    """
    text = os.fspath(name)
    if text.isprintable():
        return text
    return "".join(
        _escaped(sign) if unicodedata.category(sign) in _ESCAPED else sign for sign in text
    )


def stored(name: str) -> str:
    """Return a name as it may be stored: `shown` where it is not UTF-8, else as it is."""
    return name if is_utf8(name) else shown(name)


def is_utf8(name: str | os.PathLike[str]) -> bool:
    """Tell whether a name can be stored as text."""
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(sign: str) -> str:
    # a byte that is not UTF-8 is U+DC80 to U+DCFF in Python
    byte = ord(sign) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else sign.encode("unicode_escape").decode()


def unit_note(unit: str) -> str:
    """Say what a unit of an interval is, with a blank before it; empty where its name does."""
    if unit != NEAR_DUPLICATES:
        return ""
    return " (clips of the same images, file or group; any other clip is a group of its own)"
