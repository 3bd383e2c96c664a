"""The one optimisation loop the three networks share."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

Batch = TypeVar("Batch")
_WARMUP = 0.05


def fit(
    module: nn.Module,
    make_batch: Callable[[Generator], Batch],
    loss: Callable[[Batch, float], Tensor],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Train `module` in place with AdamW, warm-up and a cosine to zero, under bfloat16 autocast.

    `make_batch` draws a batch from the generator of its step; it runs one step ahead in a
    thread, since OpenCV releases the interpreter lock. `loss` also gets the progress in [0, 1).
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
    module.train()
    every, recent = max(1, steps // 10), 0.0
    for step, batch in enumerate(_prefetched(make_batch, steps, seed)):
        value = loss(batch, step / steps)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        recent += value.item() / every
        if (step + 1) % every == 0:
            report(f"step {step + 1}/{steps} loss {recent:.4f}")
            recent = 0.0
    module.eval()


def to_tensor(images: list[NDArray[np.uint8]], *, std: float) -> Tensor:
    """RGB uint8 images `[H, W, 3]` -> float32 `[B, 3, H, W]`, (x - 127.5) / std, channels last."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return batch.float().sub_(127.5).div_(std).contiguous(memory_format=torch.channels_last)


def _rate(progress: float) -> float:
    if progress < _WARMUP:
        return (progress + 1e-3) / _WARMUP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARMUP) / (1 - _WARMUP)))


def _prefetched(make_batch: Callable[[Generator], Batch], steps: int, seed: int) -> Iterator[Batch]:
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make_batch, np.random.default_rng([seed, 0]))
        for step in range(1, steps + 1):
            batch = ahead.result()
            if step < steps:
                ahead = pool.submit(make_batch, np.random.default_rng([seed, step]))
            yield batch
