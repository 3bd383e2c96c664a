"""Tables for `dvc plots`: attention to regions, along edges and over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.tables.text_files import write_csv

REGIONS = ("region", "times_uniform", "drop")
EDGES = ("edges", "class", "kind", "times_uniform")
TIME = ("part", "stream", "times_uniform")


def write_tables(everything: Mapping[str, Any], folder: Path) -> None:
    """Write `regions.csv`, `edges.csv` and `time.csv`: of all clips, and edges per class too.

    `times_uniform` is attention divided by uniform attention; of a network without such attention
    the tables have no lines, and a region that few frames show has no drop.

    Args:
        everything: the content of `reports/explanations.json`.
    """
    every = everything["all"]
    names = everything["regions"]["names"]
    write_csv(folder / "regions.csv", REGIONS, _regions(names, every))
    groups = {"all classes": every} | {one["label"]: one for one in everything["by_class"]}
    edges = (row for name, one in groups.items() for row in _edges(name, one))
    write_csv(folder / "edges.csv", EDGES, edges)
    write_csv(folder / "time.csv", TIME, _time(every))


def _regions(names: list[str], group: Mapping[str, Any]) -> Iterator[list[str]]:
    for number, name in enumerate(names):
        drop = group["drop"][number]
        attention = group["attention"] and _times(
            group["attention"][number], group["uniform"][number]
        )
        yield [name, attention or "", "" if drop is None else f"{drop:.6f}"]


def _edges(name: str, group: Mapping[str, Any]) -> Iterator[list[str]]:
    for edge in group["edges"] or []:
        kind = edge["kind"]
        yield [f"{name}: {kind}", name, kind, _times(edge["attention"], edge["uniform"])]


def _time(group: Mapping[str, Any]) -> Iterator[list[str]]:
    for stream, found in sorted((group["time"] or {}).items()):
        for part, times_uniform in enumerate(found["parts"], 1):
            if times_uniform is not None:
                yield [str(part), stream, f"{times_uniform:.6f}"]


def _times(attention: float, uniform: float) -> str:
    return f"{attention / uniform:.6f}" if uniform else ""
