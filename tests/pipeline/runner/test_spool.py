import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.runner.spool import Spool


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 200))
def test_everything_comes_back_in_memory_or_not(parts: list[bytes], limit: int) -> None:
    with Spool(in_memory_bytes=limit) as spool:
        assert [spool.append(part) for part in parts] == list(range(len(parts)))
        assert [spool.read(number) for number in reversed(range(len(parts)))] == parts[::-1]
        # reading does not move the place where the next one goes
        assert spool.read(spool.append(b"last")) == b"last"
        assert len(spool) == len(parts) + 1


def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with Spool(in_memory_bytes=1) as spool, pytest.raises(UserError, match="set TMPDIR"):
        spool.append(b"more than a byte")
