"""Results as JSON: sorted and indented, so that equal values give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.disk import write_whole


def json_text(values: dict[str, Any]) -> str:
    """Sorted, indented, with a newline at its end; NaN is refused."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_json(values: dict[str, Any], path: Path) -> None:
    """Put the whole file in place, or leave the former one."""
    write_whole(path, json_text(values).encode())
