"""A fine-tuning run in the store: never run twice; a killed one continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from arpgnet.pipeline.training.state import CachedState, read_info, write_tensors


class CachedTuning(CachedState):
    """The entry of a fine-tuning run in the store."""

    FINISHED: ClassVar[str] = "finetune"
    UNFINISHED: ClassVar[str] = "finetune-checkpoint"

    def finished(self, weights: Path) -> dict[str, Any] | None:
        """Copy a finished run's weights to `weights`; return its metadata, or None."""
        if not self.store.get_file(self.FINISHED, self.key, weights):
            return None
        return read_info(weights)

    def finish(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
        """Store a finished run and remove its checkpoint."""
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        self._finish(lambda path: write_tensors(path, tensors, metadata))
