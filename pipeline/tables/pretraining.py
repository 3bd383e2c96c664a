"""The output of the pretrain stage: where it lies, and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError

PRETRAINED = Path("artifacts/pretrained")
METADATA = "metadata.json"
ENCODER = "encoder.safetensors"
EXAMPLES = "reconstructions.jpg"


def read_pretraining(folder: Path) -> dict[str, Any]:
    """Return what was learned from, what was left out, and the losses.

    Raises:
        UserError: nothing was pre-trained into this folder, or it cannot be read.
    """
    path = folder / METADATA
    try:
        metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read: run `dvc repro pretrain`") from None
    if not metadata["enabled"]:
        raise UserError(f"{folder} holds no pre-trained encoder: run `dvc repro pretrain`")
    return metadata
