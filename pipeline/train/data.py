"""All clips' features as tensors, loaded once for every fold and seed.

Shape letters: M clips, T frames (of the longest clip; shorter ones are padded), E embedding
features, C map channels, N regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.arpgnet import Moments, pool_nodes
from pipeline.errors import UserError
from pipeline.shards import ShardReader, to_numpy
from pipeline.store import digest

APPEARANCE_FACTS = ("embedding_dim", "map_shape")
GRAPH_FACTS = ("regions", "names", "edges", "edge_types", "mirror")
# share of the accelerator's free memory that the features may take
DEVICE_SHARE = 0.5


@dataclass(frozen=True)
class Features:
    """Features of M clips. Rows of frames that are not `valid` are zero.

    Shapes and dtypes: label int64 [M]; embedding [M, T, E], map_vector [M, T, C] (the map averaged
    over its cells) and nodes [M, T, N, C] (`pool_nodes`) float16; node_xy float32 [M, T, N, 2] in
    0..1 of the crop; visible [M, T, N] and valid [M, T] bool.
    """

    label: Tensor
    embedding: Tensor
    map_vector: Tensor
    nodes: Tensor
    node_xy: Tensor
    visible: Tensor
    valid: Tensor

    def take(self, index: Tensor) -> Features:
        """The clips of an int64 index, on the features' device."""
        return Features(**{name: value[index] for name, value in self.tensors().items()})

    def to(self, device: torch.device) -> Features:
        moved = {
            name: value.to(device, non_blocking=True) for name, value in self.tensors().items()
        }
        return Features(**moved)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def device(self) -> torch.device:
        return self.label.device

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Dataset:
    """Features and what they mean.

    `clip_ids` names the M usable clips; `facts` are those of the appearance and the graph stage
    that a network or a prediction needs, and `frames` (T); `keys` are each clip's upstream keys
    and `pooling_key` a digest of the pooling that all clips share.
    """

    clip_ids: list[str]
    features: Features
    facts: dict[str, Any]
    keys: dict[str, str]
    pooling_key: str


def load_dataset(
    labels: Mapping[str, int], appearance: ShardReader, graphs: ShardReader
) -> Dataset:
    """Read the features of the labelled clips that no stage has quarantined.

    Node features are pooled from the map clip by clip, so the map itself is never held: N x C
    numbers a frame instead of h x w x C.

    Args:
        labels: class index of each clip, in manifest order.

    Raises:
        UserError: no clip is usable.
    """
    clip_ids = [clip for clip in labels if appearance.entry(clip).ok and graphs.entry(clip).ok]
    if not clip_ids:
        raise UserError("no clip has features to train on: see the reasons in reports/index.html")
    facts = {name: appearance.facts[name] for name in APPEARANCE_FACTS}
    facts |= {name: graphs.facts[name] for name in GRAPH_FACTS}
    facts["frames"] = max(appearance.entry(clip).rows for clip in clip_ids)
    features = _empty(len(clip_ids), facts)
    constant = graphs.facts["pooling"]
    pooling = None if constant is None else torch.tensor(constant, dtype=torch.float32)
    for row, clip in enumerate(clip_ids):
        features.label[row] = labels[clip]
        _fill(features, row, clip, appearance, graphs, pooling)
    keys = {clip: f"{appearance.entry(clip).key} {graphs.entry(clip).key}" for clip in clip_ids}
    return Dataset(clip_ids, features, facts, keys, digest(constant))


def _empty(clips: int, facts: Mapping[str, Any]) -> Features:
    frames, regions, channels = facts["frames"], len(facts["names"]), facts["map_shape"][0]
    half = torch.float16
    return Features(
        label=torch.zeros(clips, dtype=torch.int64),
        embedding=torch.zeros(clips, frames, facts["embedding_dim"], dtype=half),
        map_vector=torch.zeros(clips, frames, channels, dtype=half),
        nodes=torch.zeros(clips, frames, regions, channels, dtype=half),
        node_xy=torch.zeros(clips, frames, regions, 2),
        visible=torch.zeros(clips, frames, regions, dtype=torch.bool),
        valid=torch.zeros(clips, frames, dtype=torch.bool),
    )


def _fill(
    features: Features,
    row: int,
    clip: str,
    appearance: ShardReader,
    graphs: ShardReader,
    constant_NS: Tensor | None,
) -> None:
    channels, height, width = appearance.facts["map_shape"]
    regions = len(graphs.facts["names"])
    seen = appearance.read(clip)
    graph = graphs.read(clip)
    frames = len(seen)
    if frames != len(graph):
        raise UserError(
            f"clip {clip}: {frames} frames in data/appearance but {len(graph)} in data/graphs: "
            "run `dvc repro`"
        )
    valid = seen["valid"].to_numpy() & graph["valid"].to_numpy()
    map_TChw = _float(to_numpy(seen["map"], (channels, height, width)), valid)
    pooling = constant_NS
    if pooling is None:
        pooling = _float(to_numpy(graph["pooling"], (regions, height * width)), valid)[None]
    nodes_TNC = pool_nodes(map_TChw[None], pooling)[0]
    features.embedding[row, :frames] = _float(
        to_numpy(seen["embedding"], (appearance.facts["embedding_dim"],)), valid
    )
    features.map_vector[row, :frames] = map_TChw.mean(dim=(-2, -1))
    features.nodes[row, :frames] = nodes_TNC
    features.node_xy[row, :frames] = _float(to_numpy(graph["node_xy"], (regions, 2)), valid)
    features.visible[row, :frames] = _float(to_numpy(graph["visible"], (regions,)), valid).bool()
    features.valid[row, :frames] = torch.from_numpy(valid)


def _float(values: np.ndarray, valid: np.ndarray) -> Tensor:
    """float32 rows, zero where a frame is not valid (whatever was stored there)."""
    rows = values.astype(np.float32)
    rows[~valid] = 0
    return torch.from_numpy(rows)


def place(features: Features, device: torch.device) -> Features:
    """On an accelerator where they fit, else in page-locked memory for it to fetch from."""
    if device.type != "cuda":
        return features
    needed = sum(value.nbytes for value in features.tensors().values())
    free, _ = torch.cuda.mem_get_info(device)
    if needed <= DEVICE_SHARE * free:
        return features.to(device)
    return Features(**{name: value.pin_memory() for name, value in features.tensors().items()})


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each feature over the valid frames of some clips."""

    embedding: Moments
    map_vector: Moments
    nodes: Moments

    def to(self, device: torch.device) -> Statistics:
        moved = {
            item.name: (
                getattr(self, item.name)[0].to(device),
                getattr(self, item.name)[1].to(device),
            )
            for item in fields(self)
        }
        return Statistics(**moved)


def statistics(features: Features, clips: Tensor) -> Statistics:
    """Moments for `ARPGNet.set_feature_statistics`, float32; `clips` indexes training clips.

    A feature that does not vary has a standard deviation of exactly 0.
    """
    # 32 clips of 16 frames of 7 x 7 x 512 in double are 100 MB
    parts = clips.to(features.device).split(32)
    moments: dict[str, Moments] = {}
    for name in ("embedding", "map_vector", "nodes"):
        tensor = features.tensors()[name]
        total = squares = torch.zeros((), device=features.device, dtype=torch.float64)
        count = 0
        for part in parts:
            # double: the difference of two large sums loses digits in single precision
            rows = tensor[part][features.valid[part]].double().flatten(0, -2)
            total = total + rows.sum(0)
            squares = squares + rows.square().sum(0)
            count += len(rows)
        mean = total / count
        variance = squares / count - mean.square()
        # float16 cannot vary by less than 5e-4 of its value: what is far below that is rounding
        std = torch.where(variance > 1e-9 * squares / count, variance, 0.0).sqrt()
        moments[name] = (mean.float(), std.float())
    return Statistics(**moments)


def class_counts(labels: Sequence[int], classes: int) -> list[int]:
    """How many clips each class has."""
    return np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes).tolist()
