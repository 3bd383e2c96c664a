"""A workspace's cached features and region graphs, for networks of one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.data import Dataset as GraphDataset

from arpgnet.models.arpgnet import EDGE_TYPES
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import PARAMS_FILE, load_params, parse_params
from arpgnet.pipeline.evaluate.run import METRICS
from arpgnet.pipeline.tables.manifest import MANIFEST, SPLITS, Manifest, read_manifest, read_splits
from arpgnet.pipeline.training.data import Dataset, load

Folder = str | PathLike[str]


@dataclass(frozen=True)
class CachedFeatures:
    """The features of R frames of all labeled clips; row i of each array belongs to row i of
    `frames`.

    Attributes:
        frames: columns `clip`, `frame_index`, `valid` (whether the frame shows a face), `y` (the
            class, -1: none), `label`, `subject`, `split` (of the fold).
        embedding: float16 [R, E], the appearance network's vector.
        map_vector: float16 [R, C], its feature map, averaged over the cells.
        nodes: float16 [R, N, C], its feature map, averaged over each region.
        node_xy: float32 [R, N, 2], the regions' centers, in 0..1 of the crop.
        visible: bool [R, N].
        regions: N names.
        edge_index: int64 [2, edges], source and target; both directions are listed.
        edge_type: int64 [edges], index into `edge_types`.
        edge_types: `("adjacent", "symmetric")`.
        classes: K names.

    Rows of frames that are not valid are zero.
    """

    frames: pd.DataFrame
    embedding: np.ndarray
    map_vector: np.ndarray
    nodes: np.ndarray
    node_xy: np.ndarray
    visible: np.ndarray
    regions: list[str]
    edge_index: np.ndarray
    edge_type: np.ndarray
    edge_types: tuple[str, ...]
    classes: list[str]


def features(root: Folder = ".", *, fold: int = 0) -> CachedFeatures:
    """Read the features that `dvc repro graph` computed.

    Args:
        root: the workspace.
        fold: the one whose split the column `split` has (`train`, `val` or `test`; missing where
            the fold does not use the clip).

    Raises:
        UserError: the outputs are absent or damaged, or there is no such fold.
    """
    root = Path(root)
    manifest = read_manifest(root / MANIFEST)
    dataset, _ = load(manifest, root)
    table = dataset.features
    edge_index = np.array(dataset.metadata["edges"], np.int64).reshape(-1, 2).T
    edge_type = [EDGE_TYPES.index(kind) for kind in dataset.metadata["edge_types"]]
    return CachedFeatures(
        _frames(dataset, manifest, _splits(root, fold)),
        table.embedding.numpy(),
        table.map_vector.numpy(),
        table.nodes.numpy(),
        table.node_xy.numpy(),
        table.visible.numpy(),
        list(dataset.metadata["names"]),
        edge_index,
        np.array(edge_type, np.int64),
        EDGE_TYPES,
        manifest.classes,
    )


class RegionGraphs(GraphDataset):
    """One graph per valid frame, as `torch_geometric.data.Data`.

    A graph has x float32 [N, C], pos float32 [N, 2], visible bool [N], edge_index int64 [2, E],
    edge_type int64 [E], y int64 [1], frame_index int64 [1], and the strings clip, subject, split.

    Attributes:
        features: what the graphs are taken from.
    """

    def __init__(self, cached: CachedFeatures, root: Path, split: str | None = None) -> None:
        super().__init__()
        self.features, self._workspace = cached, root
        wanted = cached.frames["valid"]
        if split is not None:
            wanted = wanted & (cached.frames["split"] == split)
        self._rows = np.flatnonzero(wanted)
        self._edge_index = torch.from_numpy(np.ascontiguousarray(cached.edge_index))
        self._edge_type = torch.from_numpy(cached.edge_type)

    def part(self, split: str, fold: int = 0) -> RegionGraphs:
        """Return the graphs of another split or fold, of the same frames in memory.

        Raises:
            UserError: there is no such fold, or no frame is in the split.
        """
        frames = self.features.frames
        frames = frames.assign(split=frames["clip"].map(_splits(self._workspace, fold)))
        return _graphs(replace(self.features, frames=frames), self._workspace, split, fold)

    @property
    def num_classes(self) -> int:
        return len(self.features.classes)

    def len(self) -> int:
        return len(self._rows)

    def get(self, idx: int) -> Data:
        row = int(self._rows[idx])
        about = self.features.frames.iloc[row]
        return Data(
            x=torch.from_numpy(self.features.nodes[row].astype(np.float32)),
            pos=torch.from_numpy(self.features.node_xy[row].astype(np.float32)),
            visible=torch.from_numpy(self.features.visible[row]),
            edge_index=self._edge_index,
            edge_type=self._edge_type,
            y=torch.tensor([int(about["y"])]),
            frame_index=torch.tensor([int(about["frame_index"])]),
            clip=about["clip"],
            subject=about["subject"],
            split=about["split"],
        )


def region_graphs(root: Folder = ".", *, split: str | None = None, fold: int = 0) -> RegionGraphs:
    """Return the region graphs of all valid frames; a `torch_geometric` loader takes them.

    Args:
        root: the workspace.
        split: `train`, `val` or `test`; by default all.
        fold: the one that the split is of.

    Raises:
        UserError: as `features`, or no frame is in the split.
    """
    return _graphs(features(root, fold=fold), Path(root), split, fold)


def _graphs(cached: CachedFeatures, root: Path, split: str | None, fold: int) -> RegionGraphs:
    graphs = RegionGraphs(cached, root, split)
    if not len(graphs):
        raise UserError(f"no frame of fold {fold} is in the split '{split}': train, val or test?")
    return graphs


def metrics(root: Folder = ".") -> dict[str, Any]:
    """Return the workspace's `reports/metrics.json`.

    Raises:
        UserError: it is absent or damaged.
    """
    path = Path(root) / METRICS
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} not found: run `dvc repro`") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): run `dvc repro`") from None
    return found


def params(root: Folder = ".", **sections: dict[str, Any]) -> Params:
    """Return the workspace's settings, checked; a section's values replace those of the file.

    Example: `arpgnet.params(fusion={"heads": 8}).fusion.heads`

    Raises:
        UserError: a setting is unknown or has a wrong value.
    """
    stated = load_params(Path(root) / PARAMS_FILE).model_dump(mode="json")
    for name, values in sections.items():
        known = stated.get(name)
        stated[name] = {**known, **values} if isinstance(known, dict) else values
    return parse_params(stated, "arpgnet.params(...)")


def _frames(dataset: Dataset, manifest: Manifest, splits: dict[str, str]) -> pd.DataFrame:
    label = dataset.row_labels()
    clips = np.repeat(np.array(dataset.clip_ids, object), np.diff(dataset.first))
    subjects = {clip.clip_id: clip.subject for clip in manifest.clips}
    return pd.DataFrame(
        {
            "clip": clips,
            "frame_index": dataset.frame_index,
            "valid": dataset.valid,
            "y": label,
            "label": [manifest.classes[index] if index >= 0 else None for index in label],
            "subject": [subjects[name] for name in clips],
            "split": [splits.get(name) for name in clips],
        }
    )


def _splits(root: Path, fold: int) -> dict[str, str]:
    table = read_splits(root / SPLITS).to_pandas()
    folds = sorted(table["fold"].unique().tolist())
    if fold not in folds:
        raise UserError(f"there is no fold {fold}: {', '.join(map(str, folds))}")
    of_fold = table[table["fold"] == fold]
    return dict(zip(of_fold["clip_id"], of_fold["split"], strict=True))
