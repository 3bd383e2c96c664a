"""`arpgnet data list`, and its copy in docs/datasets.md."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.datasets.base import ADAPTERS
from arpgnet.pipeline.datasets.listing import COLUMNS, field_sets, markdown, rows

REPOSITORY = Path(__file__).parents[3]


def test_the_docs_show_the_table() -> None:
    done = CliRunner().invoke(app, ["data", "list", "--markdown"])
    assert done.exit_code == 0
    assert done.output == markdown()
    assert f"\n\n{markdown()}\n" in (REPOSITORY / "docs/datasets.md").read_text()


def test_every_set_of_the_field_has_a_row() -> None:
    assert set(field_sets()) == set(ADAPTERS) - {"demo", "csv", "folder"}
    table = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows()}
    assert set(table) == set(field_sets())
    assert table["rml"]["clips"] == "720"
    assert table["affwild2"]["metric"] == "macro F1"
    assert table["ckplus"]["variants"] == "seven, six"


def test_the_docs_give_one_number_of_classes_for_each_set() -> None:
    lines = (REPOSITORY / "docs/datasets.md").read_text().splitlines()
    by_recordings = {
        cells[1].strip(" `"): cells[3].split()[0]
        for line in lines
        if len(cells := line.split("|")) == 6
    }
    for name, classes in ((row[0], row[4]) for row in rows()):
        # that of the first variant comes first
        assert by_recordings[name] == (classes or "none"), name


@pytest.mark.parametrize("terminal", ["1", ""])
def test_the_terminal_shows_all_of_it(terminal: str) -> None:
    env = {"COLUMNS": "80", "FORCE_COLOR": terminal}
    done = CliRunner().invoke(app, ["data", "list"], env=env)
    assert done.exit_code == 0
    for name in field_sets():
        assert name in done.output
    assert "…" not in done.output
