"""How much a prediction rests on each region, from gradients: hiding it, to first order.

A region is hidden by masking it as a key of the graph attention, and from the readout (see
`occlusion`). What that changes is estimated for all regions by one pass backwards: in each head and
layer, the attention a_ij of region i to region j times the gradient g_ij of the predicted class's
probability with respect to it, less the row's mean of that product, because the remaining weights
are divided by 1 - a_ij to add up to one again:

    a_ij / (1 - a_ij) * (g_ij - sum over k of a_ik g_ik)

summed over heads, layers and the other regions i. The readout's weights are treated alike. A raw
attention weight says how much is read, this says how much it matters what is read there (Chefer et
al., ICCV 2021, take gradient times attention too, without the rest).

Shape letters: B views, T frames, N regions, C map channels, G = B * T graphs, H heads, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.explain.occlusion import probabilities
from arpgnet.pipeline.training.features import Batch
from arpgnet.pipeline.training.network import run_network

# a weight of 1 leaves no others to be divided by what remains
LARGEST = 0.99


@dataclass
class _Seen:
    """Tensors of one pass: attention [G, H, N, N] of each layer, regions [G, N, D] before the
    readout, and what the readout gives to the layer behind it."""

    alphas: list[Tensor] = field(default_factory=list)
    regions: Tensor | None = None
    pooled: Tensor | None = None


def relevance(
    network: ARPGNet,
    batch: Batch,
    predicted_B: Tensor,
    *,
    mean: Tensor,
    branches: Sequence[str],
) -> np.ndarray:
    """Estimate the drop in the predicted class's probability without each region: float64 [B, N].

    Not under `torch.inference_mode`; `mean` and `branches` as for `occlusion.drops`, of which this
    is the estimate.
    """

    def chosen(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return probabilities(outputs, batch).gather(1, predicted_B[:, None])

    return relevances(network, batch, chosen, mean=mean, branches=branches)[:, 0].numpy()


def relevances(
    network: ARPGNet,
    batch: Batch,
    predicted: Callable[[Mapping[str, Tensor], Batch], Tensor],
    *,
    mean: Tensor,
    branches: Sequence[str],
) -> Tensor:
    """Estimate how much lower predictions are without each region: float64 [B, K, N].

    Unknown (NaN) where a head of action units reads the regions, whose attention is none of these.

    Args:
        predicted: makes predictions [B, K] of a network's outputs, each of which is explained.
        mean, branches: see `relevance`.
    """
    units = network.config.relation.abrnet is not None and "relation" in branches
    if not branches or units:
        shape = (len(batch), network.config.num_classes, len(mean))
        return torch.full(shape, torch.nan, dtype=torch.float64)
    batch = replace(batch, map_vector=batch.map_vector.float().requires_grad_())
    with torch.enable_grad(), _watched(network) as seen:
        outputs = run_network(network, batch, attention=True)
        totals = predicted(outputs, batch).sum(0)
        inputs = [*seen.alphas, *(x for x in (seen.pooled, batch.map_vector) if x is not None)]
        every = [
            list(
                torch.autograd.grad(
                    total, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
                )
            )
            for total in totals
        ]
    found = [_estimate(network, outputs, batch, seen, grads, mean, branches) for grads in every]
    return torch.stack(found, dim=1).detach()


def _estimate(
    network: ARPGNet,
    outputs: dict[str, Tensor],
    batch: Batch,
    seen: _Seen,
    grads: Sequence[Tensor],
    mean: Tensor,
    branches: Sequence[str],
) -> Tensor:
    """Return the estimate of one prediction, float64 [B, N], from its gradients."""
    found = torch.zeros(len(batch), len(mean), dtype=torch.float64)
    frames = batch.valid.shape
    if "relation" in branches:
        for alpha, grad in zip(seen.alphas, grads, strict=False):
            found += _of_keys(alpha, grad).unflatten(0, frames).sum(1)
        found += _of_readout(network, outputs, batch, seen, grads[len(seen.alphas)])
    if "appearance" in branches:
        change_BTNC = (batch.nodes.float() - mean) / len(mean)
        found += (change_BTNC * grads[-1][:, :, None]).sum((1, 3)).double()
    return found


@contextmanager
def _watched(network: ARPGNet) -> Iterator[_Seen]:
    """Collect what one pass of the relation branch computes; nothing where there is none."""
    seen = _Seen()
    relation: Any = getattr(network, "relation", None)
    with ExitStack() as hooks:

        def watch(handle: Any) -> None:
            hooks.callback(handle.remove)

        if relation is not None:
            for conv in relation.convs:
                watch(conv.register_forward_hook(lambda _, __, out: seen.alphas.append(out[1])))
            last = relation.norms[-1] if len(relation.norms) else relation.norm
            watch(last.register_forward_hook(lambda _, __, out: setattr(seen, "regions", out)))
            watch(
                relation.out.register_forward_pre_hook(
                    lambda _, given: setattr(seen, "pooled", given[0])
                )
            )
        yield seen


def _of_keys(alpha_GHNN: Tensor, grad_GHNN: Tensor) -> Tensor:
    """Return the estimate of a layer's keys, float64 [G, N]; a region's own row stays."""
    alpha, grad = alpha_GHNN.detach().double(), grad_GHNN.double()
    rest = 1 - alpha.clamp(max=LARGEST)
    change = alpha / rest * (grad - (alpha * grad).sum(-1, keepdim=True))
    own_NN = torch.eye(alpha.shape[-1], dtype=torch.bool)
    return change.masked_fill(own_NN, 0).sum((1, 2))


def _of_readout(
    network: ARPGNet, outputs: dict[str, Tensor], batch: Batch, seen: _Seen, grad: Tensor
) -> Tensor:
    """Return the estimate of the readout, float64 [B, N]."""
    assert seen.regions is not None
    assert seen.pooled is not None
    frames = batch.valid.shape
    x_BTND = seen.regions.detach().double().unflatten(0, frames)
    visible_BTN = batch.visible.double()
    if network.config.relation.readout == "flatten":
        grad_BTND = grad.double().unflatten(-1, x_BTND.shape[-2:]).unflatten(0, frames)
        return ((x_BTND * grad_BTND).sum(-1) * visible_BTN).sum(1)
    grad_BTD = grad.double().unflatten(0, frames)
    weight_BTN = visible_BTN / visible_BTN.sum(-1, keepdim=True).clamp(min=1)
    if "readout_attention_BTN" in outputs:
        weight_BTN = outputs["readout_attention_BTN"].detach().double()
    away = x_BTND - seen.pooled.detach().double().unflatten(0, frames)[:, :, None]
    rest_BTN = 1 - weight_BTN.clamp(max=LARGEST)
    return (weight_BTN / rest_BTN * (away @ grad_BTD[..., None])[..., 0]).sum(1)
