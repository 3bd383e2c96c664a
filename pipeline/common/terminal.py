"""Tables on a terminal, and in what it is redirected to."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# columns of output that is no terminal: no row is longer
_UNLIMITED = 100_000


def print_table(table: Table) -> None:
    """Print a table without cutting a value: rich would end a long path with three dots.

    On a terminal a long value continues on the next line. A pipe or a file gets each row on one
    line, however long, so that values can be searched and copied.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNLIMITED)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
