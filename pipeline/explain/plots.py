"""Tables for `dvc plots`: attention to regions, along edges and over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.tables.text_files import write_csv


def write_tables(facts: Mapping[str, Any], folder: Path) -> None:
    """`regions.csv`, `edges.csv` and `time.csv`: of all clips, and edges of each class too.

    `times_even` is attention in multiples of an even one; a network without such an attention
    leaves the tables without lines, and a region that few frames show has no drop.

    Args:
        facts: of `reports/explanations.json`.
    """
    every = facts["all"]
    names = facts["regions"]["names"]
    write_csv(folder / "regions.csv", ("region", "times_even", "drop"), _regions(names, every))
    groups = {"all classes": every} | {one["label"]: one for one in facts["by_class"]}
    edges = (row for name, one in groups.items() for row in _edges(name, one))
    write_csv(folder / "edges.csv", ("edges", "class", "kind", "times_even"), edges)
    write_csv(folder / "time.csv", ("part", "stream", "times_even"), _time(every))


def _regions(names: list[str], group: Mapping[str, Any]) -> Iterator[list[str]]:
    for number, name in enumerate(names):
        drop = group["drop"][number]
        attention = group["attention"] and _times(group["attention"][number], group["even"][number])
        yield [name, attention or "", "" if drop is None else f"{drop:.6f}"]


def _edges(name: str, group: Mapping[str, Any]) -> Iterator[list[str]]:
    for edge in group["edges"] or []:
        kind = edge["kind"]
        yield [f"{name}: {kind}", name, kind, _times(edge["attention"], edge["even"])]


def _time(group: Mapping[str, Any]) -> Iterator[list[str]]:
    for stream, found in sorted((group["time"] or {}).items()):
        for part, times_even in enumerate(found["course"], 1):
            if times_even is not None:
                yield [str(part), stream, f"{times_even:.6f}"]


def _times(attention: float, even: float) -> str:
    return f"{attention / even:.6f}" if even else ""
