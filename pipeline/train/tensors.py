"""Tensors with facts beside them, as safetensors files.

No pickle is ever loaded. What is not a tensor is JSON in the file's metadata, under one key,
because several would be written in an order that changes from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import UserError

METADATA = "arpgnet"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors (moved to the CPU) and JSON-able facts; same input, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, path, metadata={METADATA: json.dumps(info, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `write_tensors`.

    Raises:
        UserError: the file is absent, damaged, or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()[METADATA])
    except (FileNotFoundError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a trained network of ours ({error}): run `dvc repro train`"
        ) from None


def read_info(path: Path) -> dict[str, Any]:
    """The facts alone of a file that is known to be whole."""
    with safe_open(path, framework="pt") as file:
        info: dict[str, Any] = json.loads(file.metadata()[METADATA])
    return info
