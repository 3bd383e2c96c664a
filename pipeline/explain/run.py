"""The explain stage: `reports/explanations.json`, what the networks attend to in test clips.

Shape letters: V views (clips, or windows of videos whose frames are labeled), N regions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams
from arpgnet.pipeline.explain.agreement import AGREE, SEEN
from arpgnet.pipeline.explain.choose import choose, confused, confused_clips, runs_by_fold, tested
from arpgnet.pipeline.explain.job import (
    ExplainJob,
    Piece,
    explained,
    in_passes,
    region_statistics,
    views_of,
)
from arpgnet.pipeline.explain.occlusion import can_hide
from arpgnet.pipeline.explain.plots import write_tables
from arpgnet.pipeline.explain.summary import by_class, concat, group, pairs, rounded
from arpgnet.pipeline.explain.targets import by_target, concat_targets
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
from arpgnet.pipeline.training.attention import edge_kinds
from arpgnet.pipeline.training.checkpoints import MODEL, load_run
from arpgnet.pipeline.training.data import Dataset, load_dataset
from arpgnet.pipeline.training.kinds import read_task
from arpgnet.pipeline.training.labels import labels_of
from arpgnet.pipeline.training.state import read_info
from arpgnet.pipeline.training.tasks import Task, Views, make_task

EXPLANATIONS = Path("reports/explanations.json")
TABLES = Path("reports/attention")
# clips per class (windows: the same total): 18 s of CPU time for the demo, 135 clips
MOST = 16
# of tasks with target values there are no classes: so many times MOST clips or windows in all
TIMES = 4
PAIRS = 3  # most confused ones


def explain(
    root: Path = Path(), *, most: int = MOST, workers: int = 1, store: Store | None = None
) -> None:
    """Explain at most `most` test clips per class and confused pair under `root`.

    The networks are those of the lowest seed. What was explained before is taken from the store.
    Of other tasks than expressions, `TIMES` as many in all.

    Args:
        workers: processes that share the work; 1: this process.

    Raises:
        UserError: a stage's output is absent, or no test clip is left.
    """
    kind = kind_of_predictions(root / PREDICTIONS)
    compute = explanations if kind == EXPRESSION else target_explanations
    runs = runs_by_fold(root)
    store, key = store or Store(), _key(root, runs, most, kind)
    target = root / EXPLANATIONS
    if not store.get_file("explain", key, target):
        write_json(compute(root, runs, most, workers), target)
        store.put_file("explain", key, target)
    write_tables(json.loads(target.read_text(encoding="utf-8")), root / TABLES)


def _key(root: Path, runs: Mapping[int, Path], most: int, kind: str) -> str:
    """Compute the digest of all that the explanations depend on."""
    labels = "frame_labels" if kind == EXPRESSION else "targets"
    files = [
        *(root / f"data/{name}.parquet" for name in ("manifest", labels)),
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
    views = _fused_views(read_info(next(iter(runs.values())) / MODEL))
    dataset, fold_of, drawn = load_chosen(
        root, graphs, predictions, ranked, list(runs), most, views=views, shared=workers > 1
    )
    everything = _explained(dataset, graphs, runs, fold_of, most * len(manifest.classes), workers)
    found, seen_N, kinds = concat(everything.parts), everything.seen, everything.kinds
    # clips added for a pair were chosen because they are wrong: other means leave them out
    usual = np.isin(found.clip, list(drawn))
    return {
        **everything.about,
        "most_per_class": most,
        "networks": [folder.name for folder in runs.values()],
        "classes": manifest.classes,
        "all": group(found, usual, seen_N, kinds),
        "by_class": list(by_class(found, usual, manifest.classes, seen_N, kinds)),
        "pairs": list(pairs(found, ranked, manifest.classes, seen_N, kinds)),
    }


def target_explanations(
    root: Path, runs: Mapping[int, Path], most: int, workers: int
) -> dict[str, Any]:
    """Compute the content of `EXPLANATIONS`, of a task with target values."""
    graphs = ShardReader(root / "data/graphs")
    info = read_info(next(iter(runs.values())) / MODEL)
    task = TaskParams(kind=info["kind"], targets=info["classes"])
    dataset, fold_of = load_drawn(
        root, graphs, task, list(runs), TIMES * most, views=_fused_views(info), shared=workers > 1
    )
    # windows are drawn fold by fold
    windows = max(1, TIMES * most // len(runs))
    everything = _explained(dataset, graphs, runs, fold_of, windows, workers)
    found, seen_N, kinds = concat_targets(everything.parts), everything.seen, everything.kinds
    usual = np.ones(len(found.clip), dtype=bool)
    return {
        **everything.about,
        "kind": info["kind"],
        "most": TIMES * most,
        "networks": [folder.name for folder in runs.values()],
        "classes": info["classes"],
        "all": group(found.together(), usual, seen_N, kinds),
        "by_class": list(by_target(found, dataset.kind, seen_N, kinds)),
        "pairs": [],
    }


@dataclass(frozen=True)
class _Everything:
    """The explained views of all folds, in parts; which regions are seen [N]; the kinds of edge;
    and what the file says of them."""

    parts: list[Any]
    seen: np.ndarray
    kinds: list[str]
    about: dict[str, Any]


def _explained(
    dataset: Dataset,
    graphs: ShardReader,
    runs: Mapping[int, Path],
    fold_of: Mapping[str, int],
    windows: int,
    workers: int,
) -> _Everything:
    """Explain every clip for its fold's network; of labeled frames, so many windows of a fold."""
    mean_NC, seen_N, xy_N2 = region_statistics(dataset)
    job = ExplainJob(dataset, graphs.metadata["pooling"], mean_NC.numpy(), seen_N)
    pieces = []
    for fold, folder in runs.items():
        info = read_info(folder / MODEL)
        mine = [n for n, clip in enumerate(dataset.clip_ids) if fold_of[clip] == fold]
        if mine:
            _, views = chosen_views(dataset, info, np.array(mine), windows)
            pieces += [Piece(folder, part) for part in in_passes(views)]
    parts = explained(job, pieces, workers)
    network, _ = load_run(pieces[-1].folder)
    about = {
        "unit": "clips" if dataset.frame_labels is None else "windows",
        "regions": {
            "kind": dataset.metadata["regions"],
            "names": dataset.metadata["names"],
            "xy": rounded(xy_N2),
            "seen": rounded(seen_N),
            "compared_from": SEEN,
        },
        "hidden_from": can_hide(network, job.pooling),
        "agree_from": AGREE,
    }
    kinds = edge_kinds(network.config, dataset.metadata)
    return _Everything(parts, seen_N, list(kinds), about)


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


def _fused_views(info: Mapping[str, Any]) -> str | None:
    """Return how a network fuses two views of a face; None: it has one."""
    found: str | None = info.get("features", {}).get("views")
    return found


def load_drawn(
    root: Path,
    graphs: ShardReader,
    task: TaskParams,
    folds: list[int],
    most: int,
    *,
    views: str | None,
    shared: bool,
) -> tuple[Dataset, dict[str, int]]:
    """Load the features of at most `most` clips with target values, and the fold that tests each.

    Raises:
        UserError: none has features.
    """
    manifest = read_manifest(root / "data/manifest.parquet")
    kind, labels = read_task(task, manifest, root)
    appearance = ShardReader(root / "data/appearance")
    usable = [c for c in labels.of_clip if appearance.entry(c).ok and graphs.entry(c).ok]
    fold_of = tested(read_splits(root / "data/splits.parquet"), folds, usable)
    drawn = choose(list(fold_of), dict.fromkeys(fold_of, 0), most)
    if not drawn:
        raise UserError("no test clip has features: data/*/index.parquet has the reasons")
    dataset = load_dataset(
        {clip: labels.of_clip[clip] for clip in drawn},
        appearance,
        graphs,
        frame_labels=labels.of_frames,
        kind=kind,
        views=views,
        shared=shared,
    )
    return dataset, fold_of


def chosen_views(
    dataset: Dataset, info: Mapping[str, Any], clips: np.ndarray, windows: int
) -> tuple[Task, Views]:
    """Return one view per clip as in evaluation; of videos with labeled frames, at most so many
    windows, drawn with a fixed seed."""
    task = make_task(dataset, views_of(info))
    views = task.evaluation(clips)
    shown = dataset.valid[views.rows] & (views.rows >= 0)
    chosen = np.flatnonzero(shown.any(axis=1))
    if dataset.frame_labels is not None:
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.permutation(chosen)[:windows])
    return task, Views(views.rows[chosen], views.clip[chosen])
