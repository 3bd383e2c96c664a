"""What explains views, in this process or several: the job, its pieces and their order.

Shape letters: V views (clips, or windows of videos whose frames are labeled), N regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.explain.agreement import SEEN
from arpgnet.pipeline.explain.occlusion import can_hide
from arpgnet.pipeline.explain.summary import Explained
from arpgnet.pipeline.explain.targets import TargetsExplained, explain_target_views
from arpgnet.pipeline.explain.views import Hidden, explain_views
from arpgnet.pipeline.runner.workers import Crashed, run_in_workers
from arpgnet.pipeline.tables.predictions import EXPRESSION
from arpgnet.pipeline.training.attention import edge_kinds
from arpgnet.pipeline.training.checkpoints import load_run
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.device import keep_freed_memory
from arpgnet.pipeline.training.tasks import Task, Views, make_task

FRAMES = 128  # per pass; a longer view is cropped to its middle
FEW = 4  # passes that are not worth starting a worker


@dataclass(frozen=True)
class Piece:
    """Views of one pass, and the folder of the run whose network is explained."""

    folder: Path
    views: Views


@dataclass
class ExplainJob:
    """Explains a piece; see `pipeline.runner.workers.Job`.

    Attributes:
        pooling: weights [N, cells] that all frames share, or None.
        mean, seen: of `region_statistics`.
    """

    dataset: Dataset
    pooling: Sequence[Sequence[float]] | None
    mean: np.ndarray
    seen: np.ndarray

    def start(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)

    def do(self, piece: Piece) -> Explained | TargetsExplained:
        network, task, thresholds = self._load(piece.folder)
        branches = can_hide(network, self.pooling)
        regions = np.flatnonzero(self.seen >= SEEN).tolist()
        hidden = Hidden(torch.from_numpy(self.mean), regions, branches)
        kinds = edge_kinds(network.config, self.dataset.metadata)
        # not inference_mode: relevance needs gradients
        with torch.no_grad():
            if self.dataset.kind.name == EXPRESSION:
                return explain_views(network, task, piece.views, hidden, kinds)
            return explain_target_views(network, task, piece.views, hidden, kinds, thresholds)

    def _load(self, folder: Path) -> tuple[ARPGNet, Task, list[float] | None]:
        """Load a run's network once, with the thresholds it has chosen, if any: its pieces follow
        each other."""
        if self._loaded is None or self._loaded[0] != folder:
            network, info = load_run(folder)
            task = make_task(self.dataset, views_of(info))
            self._loaded = folder, network, task, info.get("thresholds")
        return self._loaded[1:]

    _loaded: tuple[Path, ARPGNet, Task, list[float] | None] | None = None


def explained(job: ExplainJob, pieces: Sequence[Piece], workers: int) -> list[Any]:
    """Explain the pieces; results, `Explained` or `TargetsExplained`, in their order.

    Raises:
        UserError: a worker died twice on a piece.
    """
    found: dict[int, Any] = {}
    place = {id(piece): number for number, piece in enumerate(pieces)}
    unit = "clips" if job.dataset.frame_labels is None else "windows"
    with track(sum(len(piece.views) for piece in pieces), "explain", unit) as progress:
        for piece, result in _computed(job, pieces, workers):
            if isinstance(result, Crashed):
                raise UserError(
                    f"a worker of the explain stage died twice (exit code {result.exit_code}): "
                    "out of memory? set engine.workers: 1"
                )
            found[place[id(piece)]] = result
            progress.advance(len(piece.views))
    return [found[number] for number in range(len(pieces))]


def _computed(
    job: ExplainJob, pieces: Sequence[Piece], workers: int
) -> Iterator[tuple[Piece, Any]]:
    # starting a worker takes as long as 4 passes
    if workers > 1 and len(pieces) > FEW:
        yield from run_in_workers(job, pieces, workers)
        return
    # results are those of one thread everywhere
    before = torch.get_num_threads()
    job.start()
    try:
        for piece in pieces:
            yield piece, job.do(piece)
    finally:
        torch.set_num_threads(before)


def region_statistics(dataset: Dataset) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Compute over all valid frames: mean features [N, C], fraction of frames that show a region
    [N], mean position [N, 2]."""
    features = dataset.features
    valid = features.valid.nonzero()[:, 0]
    total = sum(
        (features.nodes[rows].float().sum(0) for rows in valid.split(FRAMES)),
        start=torch.zeros(()),
    )
    seen_N, xy_N2 = features.visible[valid].double().mean(0), features.node_xy[valid].mean(0)
    return total / max(1, len(valid)), seen_N.numpy(), xy_N2.numpy()


def views_of(info: Mapping[str, Any]) -> TrainParams:
    """Return the settings of a run that choose its views."""
    train = info["params"]["train"]
    return TrainParams.model_validate(
        {name: train[name] for name in ("frames", "window", "stride")}
    )


def in_passes(views: Views) -> Iterator[Views]:
    """Split into passes of about `FRAMES` frames."""
    start = max(0, views.rows.shape[1] - FRAMES) // 2
    rows = views.rows[:, start : start + FRAMES]
    step = max(1, FRAMES // rows.shape[1])
    for first in range(0, len(rows), step):
        yield Views(rows[first : first + step], views.clip[first : first + step])
