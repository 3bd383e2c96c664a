"""Label files: text lines, with errors that say what to do."""

from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.label_files import lines_of


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("labels.csv", r"labels.csv is not UTF-8 \(byte 2\): save it as CSV UTF-8"),
        ("a.txt", r"a.txt is not UTF-8 \(byte 2\): save it as UTF-8"),
    ],
)
def test_another_encoding_is_refused_with_a_remedy(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes("abä".encode("latin-1"))
    with pytest.raises(UserError, match=said):
        lines_of(tmp_path / name)
