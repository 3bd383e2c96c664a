"""A fine-tuning run in the store: a finished one is never run twice, a killed one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from arpgnet.pipeline.training.state import KeptState, read_info, write_tensors


class KeptTuning(KeptState):
    """A fine-tuning run's place in the store."""

    FINISHED: ClassVar[str] = "finetune"
    UNFINISHED: ClassVar[str] = "finetune-checkpoint"

    def finished(self, weights: Path) -> dict[str, Any] | None:
        """Put a finished run's weights at `weights`; what was kept about it, or None."""
        if not self.store.get_file(self.FINISHED, self.key, weights):
            return None
        return read_info(weights)

    def finish(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Keep a finished run and forget its checkpoint."""
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        self._finish(lambda path: write_tensors(path, tensors, facts))
