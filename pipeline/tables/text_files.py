"""JSON and CSV files of results: the same values, the same bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.files import write_whole


def json_text(values: dict[str, Any]) -> str:
    """Format as sorted, indented JSON with a newline at its end; NaN is refused."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_json(values: dict[str, Any], path: Path) -> None:
    """Put the whole file in place, or leave the former one."""
    write_whole(path, json_text(values).encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
