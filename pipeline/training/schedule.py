"""Settings of the optimizer: which weights decay, the learning rate of a step, class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def make_optimizer(
    parts: Sequence[tuple[nn.Module, float]], weight_decay: float, *, fused: bool = False
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, ICLR 2019) of networks that learn at a rate each.

    Only weight matrices decay: biases, norms and embedding tables have nothing to shrink to.

    Args:
        fused: one pass over all parameters, where a loop over each takes 2 ms more of a CPU step
            of 150.
    """
    groups = []
    for network, rate in parts:
        named = dict(network.named_parameters())
        decays = {name for name, p in named.items() if p.ndim > 1 and not is_embedding(name)}
        for names, decay in ((decays, weight_decay), (named.keys() - decays, 0.0)):
            chosen = [p for name, p in named.items() if name in names]
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=fused)


def is_embedding(name: str) -> bool:
    """Check whether a parameter is a table of vectors, by its last name."""
    return name.rsplit(".", 1)[-1].endswith(("_table", "_embedding"))


def warm_cosine(peak: float, step: int, steps: int, warmup: float) -> float:
    """Return linear warm-up, then half a cosine to zero (Loshchilov and Hutter, ICLR 2017).

    Args:
        peak: the value after the warm-up.
        step: 0-based, below `steps`.
        steps: of the whole training if it is not stopped early.
        warmup: part of the steps.
    """
    warm = round(steps * warmup)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def class_weights(counts: Sequence[int], kind: str) -> Tensor | None:
    """Weight of each class in the loss, so that the mean over the training clips is 1.

    Args:
        counts: training clips of each class, all positive.
        kind: `none`; `balanced`, inverse to the count; `sqrt`, to its square root.

    Returns:
        float32 [K], or None.
    """
    if kind == "none":
        return None
    count = torch.tensor(counts, dtype=torch.float64)
    weight = count.pow(-1.0 if kind == "balanced" else -0.5)
    return (weight * count.sum() / (weight * count).sum()).float()
