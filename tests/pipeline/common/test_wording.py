import os

import pytest

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.wording import is_utf8, shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"talk.mp4", "talk.mp4"),
        ("Gespräch 日本 é.mp4".encode(), "Gespräch 日本 é.mp4"),
        (b"caf\xe9.mp4", "caf\\xe9.mp4"),
        (b"a\nb\x1b[31m\r.mp4", "a\\nb\\x1b[31m\\r.mp4"),
        ("a\u2028b\x85".encode(), "a\\u2028b\\x85"),
        # a half of a character, encoded as if it were whole
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_any_name_is_one_line_of_text(name: bytes, text: str) -> None:
    decoded = os.fsdecode(name)
    assert shown(decoded) == text
    assert shown(text) == text
    assert is_utf8(text)
    assert str(UserError(f"{decoded} is absent")) == f"{text} is absent"
    assert ClipError(decoded).reason == str(ClipError(decoded)) == text


def test_what_is_not_text_is_known() -> None:
    assert not is_utf8(os.fsdecode(b"caf\xe9"))
