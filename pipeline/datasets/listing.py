"""The data sets of the field that have an adapter, as a table."""

from __future__ import annotations

from arpgnet.pipeline.datasets.base import ADAPTERS, About, adapter
from arpgnet.pipeline.datasets.fetching.table import PUBLISHERS

COLUMNS = (
    "name", "title", "clips", "subjects", "classes", "protocol", "metric", "license", "variants",
    "fetch",
)  # fmt: skip
METRICS = {
    "war": "WAR",
    "uar": "UAR",
    "macro_f1": "macro F1",
    "abaw2": "0.67 F1 + 0.33 accuracy",
    "f1": "mean F1 of action units",
    "ccc": "mean CCC",
}
ON_REQUEST = "no"


def field_sets() -> dict[str, About]:
    """The sets that others report figures on, by name."""
    abouts = {name: adapter(name).ABOUT for name in ADAPTERS}
    return {name: about for name, about in abouts.items() if about.published}


def rows() -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for every set; counts are documented ones, of the default variant."""
    return [
        (
            name,
            about.title,
            _count(about.expected.clips),
            _count(about.expected.subjects),
            _count(len(about.classes) - len(about.only_in_others) or None),
            about.recipe.words,
            METRICS[about.metric],
            about.license,
            ", ".join(about.variants),
            PUBLISHERS[name].summary() if name in PUBLISHERS else ON_REQUEST,
        )
        for name, about in field_sets().items()
    ]


def markdown() -> str:
    """Return the table of docs/datasets.md."""
    table = [COLUMNS, ("---",) * len(COLUMNS), *((f"`{row[0]}`", *row[1:]) for row in rows())]
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in table) + "\n"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
