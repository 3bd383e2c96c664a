"""Text from data inside Markdown: it is read as text, whatever it says."""

from __future__ import annotations

import re

# CommonMark 0.31, section 2.4: a backslash before ASCII punctuation makes it plain
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$])")
# what begins a list where a line begins
LIST = re.compile(r"^(\d{0,9})([-+.)])(?=[\s-]|$)")
# GitHub makes links of these without brackets
LINK = re.compile(r"(://|www\.)", re.IGNORECASE)


def plain(value: object) -> str:
    """The value as Markdown that shows its text on one line, in a paragraph or in a table."""
    text = SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
    text = LIST.sub(r"\1\\\2", text)
    return LINK.sub(lambda found: "\\://" if found[1] == "://" else f"{found[1][:-1]}\\.", text)
