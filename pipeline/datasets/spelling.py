"""Names as people write them: spellings of one name, invisible characters, missing values."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

# What tables of pandas, R, SQL, Excel and people contain where nothing is known, in lower case
# (docs/datasets.md lists them)
MISSING = frozenset(
    {
        *("", "-", "--", "?", "~", ".", "-1", "-1.0"),
        *("na", "n/a", "n.a.", "<na>", "nan", "-nan", "null", "<null>", "none", "nil", "nat"),
        *("#n/a", "#na", "#null!", "missing", "undefined", "unknown", "unlabeled", "unlabelled"),
    }
)

# letters and blanks without ink that Unicode does not class as format characters
_WITHOUT_INK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f")
# Cyrillic and Greek letters that fonts draw like Latin ones
_LATIN = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u04bb\u03bf",
    "aeopcyxisjho",
)
# what YAML would not read as this text without quotes
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def is_missing(text: str) -> bool:
    """Tell whether a cell stands for nothing, regardless of case."""
    return cleaned(text).lower() in MISSING


def cleaned(name: str) -> str:
    """Return the name in NFC, without invisible characters, and with single blanks."""
    seen = "".join(letter for letter in name if letter.isspace() or not _invisible(letter))
    return unicodedata.normalize("NFC", " ".join(seen.split()))


def spelling_key(name: str) -> str:
    """Return a key that all spellings of a name share.

    Spellings differ only by case, Unicode form, invisible characters, blanks, or by letters of
    another script that look the same.
    """
    folded = unicodedata.normalize("NFKC", cleaned(name)).casefold().translate(_LATIN)
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Group the different names that share a `spelling_key`; both levels are sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(spelling_key(name), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def escaped(name: str) -> str:
    """Return the name with every character escaped that cannot be told by sight."""
    unclear = cleaned(name) != name
    latin = name.translate(_LATIN).isascii()

    def hidden(letter: str) -> bool:
        if letter.isspace():
            return letter != " "
        mark = unclear and unicodedata.combining(letter) > 0
        return mark or _invisible(letter) or (latin and not letter.isascii())

    return "".join(_code(letter) if hidden(letter) else letter for letter in name)


def quoted(name: str) -> str:
    """Return the name for a message: in quotes, with `escaped` characters."""
    return f"'{escaped(name)}'"


def as_yaml(name: str) -> str:
    """Return the name as YAML reads it back: in double quotes, unless it needs none."""
    text = escaped(name)
    if text == name and re.fullmatch(r"[^\W\d_]([\w /.-]*\w)?", name):
        return f'"{name}"' if name.lower() in _YAML_WORDS else name
    if text == name:
        return json.dumps(name, ensure_ascii=False)
    return '"' + escaped(name.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _code(letter: str) -> str:
    """Return a character's escape, in Python as in YAML."""
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _invisible(letter: str) -> bool:
    # Cf: zero-width blanks, joiners, marks of direction, byte order marks, soft hyphens
    return (
        unicodedata.category(letter) in ("Cf", "Cc", "Cs", "Cn")
        or letter in _WITHOUT_INK
        or "\ufe00" <= letter <= "\ufe0f"
    )
