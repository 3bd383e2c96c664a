"""Tables: nothing that a value says is cut."""

import io

import pytest
from rich.table import Table

from arpgnet.pipeline.common.terminal import print_table

LONG = "/data/" + "x" * 150 + "/end"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("screen", [Screen(), io.StringIO()], ids=["terminal", "file"])
def test_a_long_value_is_whole(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", screen)
    table = Table("name", "where")
    table.add_row("a", LONG)
    print_table(table)
    lines = screen.getvalue().splitlines()
    cells = [line.split("\u2502")[2].strip() for line in lines if line.count("\u2502") == 3]
    assert "".join(cells) == LONG
    # in a file it can be searched
    assert (max(map(len, lines)) <= 80) == screen.isatty()
    assert any(LONG in line for line in lines) != screen.isatty()
