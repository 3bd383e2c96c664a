"""Explain the views of one pass: attention, occlusion and relevance.

Shape letters: V views, B views of a pass, N regions, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.explain.occlusion import drops, probabilities
from arpgnet.pipeline.explain.relevance import relevance
from arpgnet.pipeline.explain.summary import Explained
from arpgnet.pipeline.training.attention import (
    attends_to_regions,
    region_attention,
    time_attention,
)
from arpgnet.pipeline.training.network import run_network
from arpgnet.pipeline.training.tasks import Task, Views


@dataclass(frozen=True)
class Hidden:
    """What is hidden, in which branches, and what replaces it: see `drops`."""

    mean: Tensor
    regions: list[int]
    branches: list[str]


def explain_views(
    network: ARPGNet,
    task: Task,
    views: Views,
    hidden: Hidden,
    kinds: Mapping[str, Tensor],
) -> Explained:
    """Compute attention, occlusion and relevance of some views."""
    label = task.labels(views)
    batch = task.dataset.features.take(torch.from_numpy(views.rows), torch.from_numpy(label))
    outputs = run_network(network, batch, attention=True)
    probability_B, predicted_B = probabilities(outputs, batch).max(-1)
    regions = (
        region_attention(network, outputs, batch, kinds) if attends_to_regions(network) else {}
    )
    return Explained(
        clip=np.array([task.dataset.clip_ids[clip] for clip in views.clip], dtype=object),
        label=label if label.ndim == 1 else _most_frequent(label),
        predicted=predicted_B.numpy(),
        probability=probability_B.numpy(),
        drop=drops(network, batch, predicted_B, **vars(hidden)),
        relevance=relevance(
            network, batch, predicted_B, mean=hidden.mean, branches=hidden.branches
        ),
        regions=regions,
        time=time_attention(network.config.fusion, outputs, batch.valid),
    )


def _most_frequent(label_VT: np.ndarray) -> np.ndarray:
    known = [row[row >= 0] for row in label_VT]
    return np.array([np.bincount(row).argmax() if len(row) else -1 for row in known], np.int64)
