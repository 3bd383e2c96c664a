"""The explain stage: `reports/explanations.json`, what the networks attended to in test clips.

Shape letters: V views (clips, or windows of videos whose frames are labelled), N regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.arpgnet import ARPGNet
from pipeline.clips import read_frame_label_table, read_manifest, read_splits
from pipeline.config import TrainParams
from pipeline.errors import UserError
from pipeline.evaluate.json_file import write_json
from pipeline.explain.agreement import AGREE, SEEN, agreement
from pipeline.explain.attention import (
    OFFSETS,
    SOURCES,
    attends_to_regions,
    edge_kinds,
    joined,
    region_attention,
    time_attention,
)
from pipeline.explain.choose import choose, confused, confused_clips, runs_by_fold, tested
from pipeline.explain.occlusion import can_hide, drops, probabilities
from pipeline.explain.plots import write_tables
from pipeline.shards import ShardReader
from pipeline.train.checkpoints import load_run
from pipeline.train.data import Dataset, labels_of, load_dataset
from pipeline.train.device import reproducible
from pipeline.train.network import run_network
from pipeline.train.predictions import NETWORK, PREDICTIONS, Predictions, read_predictions
from pipeline.train.tasks import Task, make_task
from pipeline.train.views import Views

EXPLANATIONS = Path("reports/explanations.json")
TABLES = Path("reports/attention")
# clips a class (windows: as many a class together): on 2 cores 10 seconds for the demo, 128 clips
MOST = 16
FRAMES = 128  # in a pass; a longer view is cut to these in its middle
PAIRS = 3  # most confused ones
DIGITS = 6


@dataclass(frozen=True)
class Hidden:
    """What is hidden, from where, and what takes its place: see `drops`."""

    mean: Tensor
    regions: list[int]
    branches: list[str]


@dataclass(frozen=True)
class Explained:
    """V views: `clip` (str), `label` (-1: none) and `named` (class numbers), `probability` of the
    named class, `drop` [V, N], and the arrays of `region_attention` and, a stream,
    `time_attention` (both may be empty)."""

    clip: np.ndarray
    label: np.ndarray
    named: np.ndarray
    probability: np.ndarray
    drop: np.ndarray
    regions: Mapping[str, np.ndarray]
    time: Mapping[str, Mapping[str, np.ndarray]]


def explain(root: Path = Path(), *, most: int = MOST) -> None:
    """Explain at most `most` test clips a class and confused pair under `root`, by the lowest
    seed's networks.

    Raises:
        UserError: a stage's out is absent, or no test clip is left.
    """
    runs = runs_by_fold(root)
    graphs = ShardReader(root / "data/graphs")
    manifest = read_manifest(root / "data/manifest.parquet")
    predictions = read_predictions(root / PREDICTIONS)
    predictions = predictions.select((predictions.model == NETWORK) & (predictions.split == "test"))
    ranked = confused(predictions, PAIRS)
    with reproducible(), torch.inference_mode():
        dataset, fold_of, drawn = load_chosen(root, graphs, predictions, ranked, list(runs), most)
        mean_NC, seen_N, xy_N2 = region_facts(dataset)
        parts, branches, kinds = [], [], {}
        for fold, folder in runs.items():
            network, info = load_run(folder)
            mine = [n for n, clip in enumerate(dataset.clip_ids) if fold_of[clip] == fold]
            if not mine:
                continue
            branches = can_hide(network, graphs.facts["pooling"])
            kinds = edge_kinds(network.config, dataset.facts)
            task, views = chosen_views(dataset, info, np.array(mine), most)
            for part in _parts(views):
                hidden = Hidden(mean_NC, np.flatnonzero(seen_N >= SEEN).tolist(), branches)
                parts.append(explain_views(network, task, part, hidden, kinds))
    found = together(parts)
    # what was added for a pair is wrong by choice: it is no part of the other means
    usual = np.isin(found.clip, list(drawn))
    facts: dict[str, Any] = {
        "unit": "clips" if dataset.frame_labels is None else "windows",
        "most_a_class": most,
        "networks": [folder.name for folder in runs.values()],
        "classes": manifest.classes,
        "regions": {
            "kind": dataset.facts["regions"],
            "names": dataset.facts["names"],
            "xy": _rounded(xy_N2),
            "seen": _rounded(seen_N),
            "compared_from": SEEN,
        },
        "hidden_from": branches,
        "agree_from": AGREE,
        "all": group(found, usual, seen_N, list(kinds)),
        "by_class": list(by_class(found, usual, manifest.classes, seen_N, list(kinds))),
        "pairs": list(pairs(found, ranked, manifest.classes, seen_N, list(kinds))),
    }
    write_json(facts, root / EXPLANATIONS)
    write_tables(facts, root / TABLES)


def load_chosen(
    root: Path,
    graphs: ShardReader,
    predictions: Predictions,
    ranked: Mapping[tuple[int, int], int],
    folds: list[int],
    most: int,
) -> tuple[Dataset, dict[str, int], set[str]]:
    """Features of the clips that are explained, the fold that tests each, and which of them were
    drawn from their class; the others show a confused pair (`ranked`, of `confused`)."""
    manifest = read_manifest(root / "data/manifest.parquet")
    table = read_frame_label_table(root / "data/frame_labels.parquet")
    labels, frame_labels = labels_of(manifest.clips, table)
    appearance = ShardReader(root / "data/appearance")
    usable = [clip for clip in labels if appearance.entry(clip).ok and graphs.entry(clip).ok]
    fold_of = tested(read_splits(root / "data/splits.parquet"), folds, usable)
    drawn = set(choose(list(fold_of), labels, most))
    if not drawn:
        raise UserError("no test clip has features: see the reasons in data/*/index.parquet")
    chosen = set(drawn)
    # of videos whose frames are labelled windows are drawn, not clips
    if frame_labels is None:
        chosen |= confused_clips(predictions, ranked, fold_of, most)
    wanted = {clip: labels[clip] for clip in fold_of if clip in chosen}
    return load_dataset(wanted, appearance, graphs, frame_labels=frame_labels), fold_of, drawn


def region_facts(dataset: Dataset) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Over all valid frames: mean features [N, C], share of frames that show a region [N], mean
    position [N, 2]."""
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
    """One view a clip as in evaluation; of videos whose frames are labelled windows drawn with a
    fixed seed."""
    train = {name: info["params"]["train"][name] for name in ("frames", "window", "stride")}
    task = make_task(dataset, TrainParams.model_validate(train))
    views = task.evaluation(clips)
    kept = dataset.valid[views.rows] & (views.rows >= 0)
    chosen = np.flatnonzero(kept.any(axis=1))
    if dataset.frame_labels is not None:
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.permutation(chosen)[: most * len(info["classes"])])
    return task, Views(views.rows[chosen], views.clip[chosen])


def _parts(views: Views) -> Iterator[Views]:
    """Passes of about `FRAMES` frames."""
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
    """Attention and occlusion of some views."""
    label = task.labels(views)
    batch = task.dataset.features.take(torch.from_numpy(views.rows), torch.from_numpy(label))
    out = run_network(network, batch, attention=True)
    sure_B, named_B = probabilities(out, batch).max(-1)
    regions = region_attention(network, out, batch, kinds) if attends_to_regions(network) else {}
    return Explained(
        clip=np.array([task.dataset.clip_ids[clip] for clip in views.clip], dtype=object),
        label=label if label.ndim == 1 else _most_frequent(label),
        named=named_B.numpy(),
        probability=sure_B.numpy(),
        drop=drops(network, batch, named_B, **vars(hidden)),
        regions=regions,
        time=time_attention(network.config.fusion, out, batch.valid),
    )


def _most_frequent(label_VT: np.ndarray) -> np.ndarray:
    known = [row[row >= 0] for row in label_VT]
    return np.array([np.bincount(row).argmax() if len(row) else -1 for row in known], np.int64)


def together(parts: list[Explained]) -> Explained:
    """The views of all parts."""
    flat = ("clip", "label", "named", "probability", "drop")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in flat}
    return Explained(
        **arrays,
        regions=joined([part.regions for part in parts]),
        time={name: joined([part.time[name] for part in parts]) for name in parts[0].time},
    )


def group(
    found: Explained, views: np.ndarray, seen_N: np.ndarray, kinds: list[str]
) -> dict[str, Any]:
    """Means over some views (bool [V], one at least true) and whether attention and occlusion
    agree over them."""
    drop_VN = found.drop[views]
    facts: dict[str, Any] = {
        "views": int(views.sum()),
        "clips": list(dict.fromkeys(found.clip[views])),
        "probability": _rounded(found.probability[views].mean()),
        "drop": _rounded(drop_VN.mean(0)),
        "attention": None,
        "even": None,
        "agreement": None,
        "edges": edges(found, views, kinds),
        "time": {stream: course(values, views) for stream, values in found.time.items()},
    }
    if found.regions:
        attention = found.regions["attention"][views].mean(0)
        even = found.regions["even"][views].mean(0)
        compared = agreement(attention, even, drop_VN, seen_N)
        facts |= {"attention": _rounded(attention), "even": _rounded(even), "agreement": compared}
    return facts


def by_class(
    found: Explained, usual: np.ndarray, classes: list[str], seen_N: np.ndarray, kinds: list[str]
) -> Iterator[dict[str, Any]]:
    """The views of each true class that has any, whatever they were named."""
    for number, name in enumerate(classes):
        views = usual & (found.label == number)
        if views.any():
            right = int((found.named[views] == number).sum())
            yield {"label": name, "right": right, **group(found, views, seen_N, kinds)}


def pairs(
    found: Explained,
    ranked: Mapping[tuple[int, int], int],
    classes: list[str],
    seen_N: np.ndarray,
    kinds: list[str],
) -> Iterator[dict[str, Any]]:
    """The views of one class that are named another, for each of the pairs of `confused` that the
    explained networks confuse; `predictions` is how often all runs do."""
    for (label, named), count in ranked.items():
        views = (found.label == label) & (found.named == named)
        if views.any():
            names = {"label": classes[label], "named": classes[named]}
            yield {**names, "predictions": count, **group(found, views, seen_N, kinds)}


def edges(found: Explained, views: np.ndarray, kinds: list[str]) -> list[dict[str, Any]] | None:
    """Share of the attention that each kind of edge carries; None without graph layers."""
    if "edges" not in found.regions:
        return None
    share, even = (found.regions[name][views].mean(0) for name in ("edges", "even_edges"))
    return [
        {"kind": kind, "attention": _rounded(share[n]), "even": _rounded(even[n])}
        for n, kind in enumerate(kinds)
    ]


def course(every: Mapping[str, np.ndarray], views: np.ndarray) -> dict[str, Any]:
    """One stream's attention over time; sources that no layer reads are left out."""
    values = {name: array[views] for name, array in every.items()}
    shares, even = values["shares"].mean(0), values["even_shares"].mean(0)
    read = [n for n in range(len(SOURCES)) if even[n] > 0]
    offsets, even_offsets = values["offsets"].mean(0), values["even_offsets"].mean(0)
    given, fair = values["course"].sum(0), values["even_course"].sum(0)
    return {
        "sources": {
            SOURCES[n]: {
                "share": _rounded(shares[n]),
                "even": _rounded(even[n]),
                "offsets": _rounded(offsets[n]),
                "even_offsets": _rounded(even_offsets[n]),
            }
            for n in read
        },
        "from": -OFFSETS,
        # 1: as much as an even attention gives; None: no clip is long enough for this part
        "course": [
            _rounded(part / even_part) if even_part > 0 else None
            for part, even_part in zip(given, fair, strict=True)
        ],
    }


def _rounded(values: Any) -> Any:
    """Plain numbers, None for NaN; adding 0 turns -0.0 into 0.0."""
    rounded: np.ndarray = np.round(np.asarray(values, np.float64), DIGITS) + 0.0
    return np.where(np.isnan(rounded), np.array(None), rounded.astype(object)).tolist()
