"""Batches on the training device: taken from features that lie there, or streamed to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from arpgnet.pipeline.training.features import Batch, Features


def batches(
    features: Features, rows: Sequence[Tensor], labels: Sequence[Tensor], device: torch.device
) -> Iterator[Batch]:
    """Yield the batches of int64 rows [B, T] and labels, in order, on `device`.

    Features that do not lie there are gathered by a thread into page-locked memory, one batch
    ahead of the one that is computed, and copied without waiting.
    """
    if features.device.type == device.type:
        here = (concat(device, parts) for parts in (rows, labels))
        for row, label in zip(*here, strict=True):
            yield features.take(row, label)
        return

    def gather(number: int) -> Batch:
        batch = features.take(rows[number], labels[number])
        return batch.pin_memory() if device.type == "cuda" else batch

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(gather, 0) if rows else None
        for number in range(len(rows)):
            assert coming is not None
            batch = coming.result()
            if number + 1 < len(rows):
                coming = thread.submit(gather, number + 1)
            yield batch.to(device)


def concat(device: torch.device, parts: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the tensors on the device, by one copy: each of its own would make the host wait."""
    return torch.cat(list(parts)).to(device).split([len(part) for part in parts])
