"""Explanations of target values: of all together, and of each.

The effect of a region on all is how far the predictions change without it, whatever the direction;
on an action unit, in the views that show it, how far its probability or intensity falls; on valence
or arousal, whose fall is no loss, how far it changes.

Shape letters: V views, N regions, K targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.explain.occlusion import changes, predictions
from arpgnet.pipeline.explain.relevance import relevances
from arpgnet.pipeline.explain.summary import Explained, group
from arpgnet.pipeline.explain.views import Hidden
from arpgnet.pipeline.tables.facs import PRESENT
from arpgnet.pipeline.training.attention import (
    attends_to_regions,
    joined,
    region_attention,
    time_attention,
)
from arpgnet.pipeline.training.features import Batch
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.network import run_network
from arpgnet.pipeline.training.tasks import Task, Views


@dataclass(frozen=True)
class TargetsExplained:
    """V views: `clip` (str); `target` (NaN: not annotated; of labeled frames their mean), `value`
    and `least`, from which value on the view's run calls it present (NaN: it never does), [V, K];
    `drop` and its estimate `relevance`, [V, K, N]; `regions` and `time` as in `Explained`."""

    clip: np.ndarray
    target: np.ndarray
    value: np.ndarray
    least: np.ndarray
    drop: np.ndarray
    relevance: np.ndarray
    regions: Mapping[str, np.ndarray]
    time: Mapping[str, Mapping[str, np.ndarray]]

    def together(self) -> Explained:
        """Return the effect on all targets."""
        return self._explained(
            np.abs(self.drop).mean(axis=1),
            np.abs(self.relevance).mean(axis=1),
            np.full(len(self.clip), np.nan),
        )

    def of(self, output: int, *, signed: bool) -> Explained:
        """Return the effect on one target: its fall, or how far it changes."""
        drop, relevance = self.drop[:, output], self.relevance[:, output]
        if not signed:
            drop, relevance = np.abs(drop), np.abs(relevance)
        return self._explained(drop, relevance, self.value[:, output])

    def _explained(self, drop: np.ndarray, relevance: np.ndarray, value: np.ndarray) -> Explained:
        nothing = np.full(len(self.clip), -1)
        return Explained(
            self.clip, nothing, nothing, value, drop, relevance, self.regions, self.time
        )


def explain_target_views(
    network: ARPGNet,
    task: Task,
    views: Views,
    hidden: Hidden,
    kinds: Mapping[str, Tensor],
    thresholds: Sequence[float] | None = None,
) -> TargetsExplained:
    """Compute attention, occlusion and relevance of some views, for every target.

    Args:
        thresholds: that the run has chosen; None: those of the scale.
    """
    label, kind = task.labels(views), task.dataset.kind
    of_frames = label.ndim == 3
    batch = task.dataset.features.take(torch.from_numpy(views.rows), torch.from_numpy(label))

    def predicted(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return predictions(outputs, batch, kind.values, of_frames)

    outputs = run_network(network, batch, attention=True)
    regions = (
        region_attention(network, outputs, batch, kinds) if attends_to_regions(network) else {}
    )
    return TargetsExplained(
        clip=np.array([task.dataset.clip_ids[clip] for clip in views.clip], dtype=object),
        target=_mean_of_known(label) if of_frames else label.astype(np.float64),
        value=predicted(outputs, batch).numpy(),
        least=np.tile(
            thresholds or [PRESENT.get(kind.name, np.nan)] * len(kind.outputs), (len(views), 1)
        ),
        drop=changes(network, batch, predicted, **vars(hidden)).numpy(),
        relevance=relevances(
            network, batch, predicted, mean=hidden.mean, branches=hidden.branches
        ).numpy(),
        regions=regions,
        time=time_attention(network.config.fusion, outputs, batch.valid),
    )


def _mean_of_known(label_VTK: np.ndarray) -> np.ndarray:
    known = ~np.isnan(label_VTK)
    total, count = np.where(known, label_VTK, 0.0).sum(axis=1), known.sum(axis=1)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def concat_targets(parts: Sequence[TargetsExplained]) -> TargetsExplained:
    """Concatenate the views of all parts."""
    flat = ("clip", "target", "value", "least", "drop", "relevance")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in flat}
    return TargetsExplained(
        **arrays,
        regions=joined([part.regions for part in parts]),
        time={name: joined([part.time[name] for part in parts]) for name in parts[0].time},
    )


def by_target(
    found: TargetsExplained, kind: Kind, seen_N: np.ndarray, kinds: list[str]
) -> Iterator[dict[str, Any]]:
    """Group the views that show each action unit, whatever was predicted; of other targets, those
    that are annotated."""
    least = PRESENT.get(kind.name)
    for output, name in enumerate(kind.outputs):
        target = found.target[:, output]
        views = ~np.isnan(target) if least is None else np.nan_to_num(target, nan=-1) >= least
        if not views.any():
            continue
        claimed = found.value[views, output] >= found.least[views, output]
        correct = None if least is None else int(claimed.sum())
        one = found.of(output, signed=least is not None)
        yield {"label": name, "correct": correct, **group(one, views, seen_N, kinds)}
