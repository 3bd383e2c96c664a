"""The explain stage: `reports/explanations.json`, what the networks attend to in test clips.

Shape letters: V views (clips, or windows of videos whose frames are labeled), N regions.
"""

from __future__ import annotations

import json
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
from arpgnet.pipeline.explain.agreement import AGREE, SEEN
from arpgnet.pipeline.explain.choose import choose, confused, confused_clips, runs_by_fold, tested
from arpgnet.pipeline.explain.occlusion import can_hide, drops, probabilities
from arpgnet.pipeline.explain.plots import write_no_tables, write_tables
from arpgnet.pipeline.explain.relevance import relevance
from arpgnet.pipeline.explain.summary import Explained, by_class, concat, group, pairs, rounded
from arpgnet.pipeline.runner.workers import Crashed, run_in_workers
from arpgnet.pipeline.store import Store, code_version, digest, file_sha256
from arpgnet.pipeline.tables.manifest import read_frame_label_table, read_manifest, read_splits
from arpgnet.pipeline.tables.predictions import (
    EXPRESSION,
    NETWORK,
    PREDICTIONS,
    Predictions,
    kind_of_predictions,
    read_predictions,
)
from arpgnet.pipeline.tables.shards import INDEX, ShardReader
from arpgnet.pipeline.tables.text_files import write_json
from arpgnet.pipeline.training.attention import (
    attends_to_regions,
    edge_kinds,
    region_attention,
    time_attention,
)
from arpgnet.pipeline.training.checkpoints import MODEL, load_run
from arpgnet.pipeline.training.data import Dataset, load_dataset
from arpgnet.pipeline.training.device import keep_freed_memory
from arpgnet.pipeline.training.labels import labels_of
from arpgnet.pipeline.training.network import run_network
from arpgnet.pipeline.training.state import read_info
from arpgnet.pipeline.training.tasks import Task, Views, make_task

EXPLANATIONS = Path("reports/explanations.json")
TABLES = Path("reports/attention")
# clips per class (windows: the same total): 18 s of CPU time for the demo, 135 clips
MOST = 16
FRAMES = 128  # per pass; a longer view is cropped to its middle
FEW = 4  # passes that are not worth starting a worker
PAIRS = 3  # most confused ones


@dataclass(frozen=True)
class Hidden:
    """What is hidden, in which branches, and what replaces it: see `drops`."""

    mean: Tensor
    regions: list[int]
    branches: list[str]


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

    def do(self, piece: Piece) -> Explained:
        network, task = self._load(piece.folder)
        branches = can_hide(network, self.pooling)
        regions = np.flatnonzero(self.seen >= SEEN).tolist()
        hidden = Hidden(torch.from_numpy(self.mean), regions, branches)
        kinds = edge_kinds(network.config, self.dataset.metadata)
        # not inference_mode: relevance needs gradients
        with torch.no_grad():
            return explain_views(network, task, piece.views, hidden, kinds)

    def _load(self, folder: Path) -> tuple[ARPGNet, Task]:
        """Load a run's network once: its pieces follow each other."""
        if self._loaded is None or self._loaded[0] != folder:
            network, info = load_run(folder)
            self._loaded = folder, network, make_task(self.dataset, _views_of(info))
        return self._loaded[1:]

    _loaded: tuple[Path, ARPGNet, Task] | None = None


def explain(
    root: Path = Path(), *, most: int = MOST, workers: int = 1, store: Store | None = None
) -> None:
    """Explain at most `most` test clips per class and confused pair under `root`.

    The networks are those of the lowest seed. What was explained before is taken from the store.
    Of other tasks than expressions only that is written.

    Args:
        workers: processes that share the work; 1: this process.

    Raises:
        UserError: a stage's output is absent, or no test clip is left.
    """
    if (kind := kind_of_predictions(root / PREDICTIONS)) != EXPRESSION:
        # occlusion is measured by the class that is predicted: of other tasks there is none
        write_json({"kind": kind, "available": False}, root / EXPLANATIONS)
        write_no_tables(root / TABLES)
        return
    runs = runs_by_fold(root)
    store, key = store or Store(), _key(root, runs, most)
    target = root / EXPLANATIONS
    if not store.get_file("explain", key, target):
        write_json(explanations(root, runs, most, workers), target)
        store.put_file("explain", key, target)
    write_tables(json.loads(target.read_text(encoding="utf-8")), root / TABLES)


def _key(root: Path, runs: Mapping[int, Path], most: int) -> str:
    """Compute the digest of all that the explanations depend on."""
    files = [
        *(root / f"data/{name}.parquet" for name in ("manifest", "frame_labels")),
        # with the key of each clip
        *(root / f"data/{name}" / INDEX for name in ("appearance", "graphs")),
        root / PREDICTIONS,
        *(folder / MODEL for folder in runs.values()),
    ]
    absent = [path for path in files if not path.is_file()]
    if absent:
        raise UserError(f"{absent[0]} is missing: run `dvc repro`")
    names = [folder.name for folder in runs.values()]
    return digest(code_version(__name__), most, names, [file_sha256(path) for path in files])


def explanations(root: Path, runs: Mapping[int, Path], most: int, workers: int) -> dict[str, Any]:
    """Compute the content of `EXPLANATIONS`; see `explain`."""
    graphs = ShardReader(root / "data/graphs")
    manifest = read_manifest(root / "data/manifest.parquet")
    predictions = read_predictions(root / PREDICTIONS)
    predictions = predictions.select((predictions.model == NETWORK) & (predictions.split == "test"))
    ranked = confused(predictions, PAIRS)
    trained = read_info(next(iter(runs.values())) / MODEL).get("features", {})
    views = trained.get("views")
    dataset, fold_of, drawn = load_chosen(
        root, graphs, predictions, ranked, list(runs), most, views=views, shared=workers > 1
    )
    mean_NC, seen_N, xy_N2 = region_statistics(dataset)
    job = ExplainJob(dataset, graphs.metadata["pooling"], mean_NC.numpy(), seen_N)
    pieces = []
    for fold, folder in runs.items():
        info = read_info(folder / MODEL)
        mine = [n for n, clip in enumerate(dataset.clip_ids) if fold_of[clip] == fold]
        if mine:
            _, shown = chosen_views(dataset, info, np.array(mine), most)
            pieces += [Piece(folder, part) for part in _parts(shown)]
    parts = list(explained(job, pieces, workers))
    network, _ = load_run(pieces[-1].folder)
    branches = can_hide(network, job.pooling)
    kinds = edge_kinds(network.config, dataset.metadata)
    found = concat(parts)
    # clips added for a pair were chosen because they are wrong: other means leave them out
    usual = np.isin(found.clip, list(drawn))
    return {
        "unit": "clips" if dataset.frame_labels is None else "windows",
        "most_per_class": most,
        "networks": [folder.name for folder in runs.values()],
        "classes": manifest.classes,
        "regions": {
            "kind": dataset.metadata["regions"],
            "names": dataset.metadata["names"],
            "xy": rounded(xy_N2),
            "seen": rounded(seen_N),
            "compared_from": SEEN,
        },
        "hidden_from": branches,
        "agree_from": AGREE,
        "all": group(found, usual, seen_N, list(kinds)),
        "by_class": list(by_class(found, usual, manifest.classes, seen_N, list(kinds))),
        "pairs": list(pairs(found, ranked, manifest.classes, seen_N, list(kinds))),
    }


def load_chosen(
    root: Path,
    graphs: ShardReader,
    predictions: Predictions,
    ranked: Mapping[tuple[int, int], int],
    folds: list[int],
    most: int,
    *,
    views: str | None = None,
    shared: bool = False,
) -> tuple[Dataset, dict[str, int], set[str]]:
    """Load the features of the explained clips, the fold that tests each, and the clips that were
    drawn from their class; the others show a confused pair (`ranked`, of `confused`).

    Args:
        views: how the networks fuse two views of a face; None: they have one.
    """
    manifest = read_manifest(root / "data/manifest.parquet")
    table = read_frame_label_table(root / "data/frame_labels.parquet")
    labels, frame_labels = labels_of(manifest.clips, table)
    appearance = ShardReader(root / "data/appearance")
    usable = [clip for clip in labels if appearance.entry(clip).ok and graphs.entry(clip).ok]
    fold_of = tested(read_splits(root / "data/splits.parquet"), folds, usable)
    drawn = set(choose(list(fold_of), labels, most))
    if not drawn:
        raise UserError("no test clip has features: data/*/index.parquet has the reasons")
    chosen = set(drawn)
    # of videos with labeled frames, windows are drawn, not clips
    if frame_labels is None:
        chosen |= confused_clips(predictions, ranked, fold_of, most)
    wanted = {clip: labels[clip] for clip in fold_of if clip in chosen}
    dataset = load_dataset(
        wanted, appearance, graphs, frame_labels=frame_labels, views=views, shared=shared
    )
    return dataset, fold_of, drawn


def explained(job: ExplainJob, pieces: Sequence[Piece], workers: int) -> Iterator[Explained]:
    """Explain the pieces; results in their order.

    Raises:
        UserError: a worker died twice on a piece.
    """
    found: dict[int, Explained] = {}
    place = {id(piece): number for number, piece in enumerate(pieces)}
    with track(sum(len(piece.views) for piece in pieces), "explain") as progress:
        for piece, result in _computed(job, pieces, workers):
            if isinstance(result, Crashed):
                raise UserError(
                    f"a worker of the explain stage died twice (exit code {result.exit_code}): "
                    "out of memory? set engine.workers: 1"
                )
            found[place[id(piece)]] = result
            progress.advance(len(piece.views))
    return iter([found[number] for number in range(len(pieces))])


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


def chosen_views(
    dataset: Dataset, info: Mapping[str, Any], clips: np.ndarray, most: int
) -> tuple[Task, Views]:
    """Return one view per clip as in evaluation; of videos with labeled frames, windows drawn with
    a fixed seed."""
    task = make_task(dataset, _views_of(info))
    views = task.evaluation(clips)
    shown = dataset.valid[views.rows] & (views.rows >= 0)
    chosen = np.flatnonzero(shown.any(axis=1))
    if dataset.frame_labels is not None:
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.permutation(chosen)[: most * len(info["classes"])])
    return task, Views(views.rows[chosen], views.clip[chosen])


def _views_of(info: Mapping[str, Any]) -> TrainParams:
    """Return the settings of a run that choose its views."""
    train = info["params"]["train"]
    return TrainParams.model_validate(
        {name: train[name] for name in ("frames", "window", "stride")}
    )


def _parts(views: Views) -> Iterator[Views]:
    """Split into passes of about `FRAMES` frames."""
    start = max(0, views.rows.shape[1] - FRAMES) // 2
    rows = views.rows[:, start : start + FRAMES]
    step = max(1, FRAMES // rows.shape[1])
    for first in range(0, len(rows), step):
        yield Views(rows[first : first + step], views.clip[first : first + step])


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
