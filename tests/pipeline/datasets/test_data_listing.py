"""`arpgnet data list`, and its copy in docs/datasets.md."""

from pathlib import Path

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


def test_the_terminal_shows_all_of_it() -> None:
    done = CliRunner().invoke(app, ["data", "list"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    for name in field_sets():
        assert name in done.output
    assert "…" not in done.output
