"""Counts and names in messages and pages."""

from __future__ import annotations

import os
import unicodedata

# controls (a new line, the start of a terminal's command), halves of characters, line ends
_ESCAPED = frozenset({"Cc", "Cs", "Zl", "Zp"})


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
