"""The labeled clips' features, loaded once for every fold and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from arpgnet.models.arpgnet import pool_nodes
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TaskParams
from arpgnet.pipeline.store import digest
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.training.features import Features, SharedFeatures, empty_features
from arpgnet.pipeline.training.kinds import read_further, read_task
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.kinds.expression import Expression
from arpgnet.pipeline.training.kinds.further import Further, FurtherLabels
from arpgnet.pipeline.training.labels import FrameLabels, Labels, blank_like


@dataclass(frozen=True)
class Partition:
    """The clips whose features this process holds, and where their rows lie.

    Attributes:
        rank: this process's number.
        owner: int64 [M], the process that has a clip's features.
        place: int64 [R], where in this process's features a row lies; -1: another's.
        length: rows of this process's features.
    """

    rank: int
    owner: np.ndarray
    place: np.ndarray
    length: int

    @classmethod
    def deal(cls, frames: np.ndarray, rank: int = 0, world: int = 1) -> Partition:
        """Assign clips by number of frames (int64 [M]) to processes, there and back: 0, 1, 1, 0.

        Every process gets about as many frames, and of every fold about as many clips, which
        neighbors in the manifest would not give it.
        """
        turn = np.arange(len(frames)) % (2 * world)
        owner = np.empty(len(frames), np.int64)
        owner[np.argsort(-frames, kind="stable")] = np.minimum(turn, 2 * world - 1 - turn)
        mine = np.repeat(owner == rank, frames)
        place = np.where(mine, np.cumsum(mine) - 1, -1)
        return cls(rank, owner, place, int(mine.sum()))

    def mine(self, clips: np.ndarray | int) -> np.ndarray:
        """Return which of these clips belong to this process: bool."""
        here: np.ndarray = self.owner[clips] == self.rank
        return here

    def local_rows(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows' places in the local features: int64; -1 for padding and another's."""
        found: np.ndarray = np.where(rows >= 0, self.place[rows], -1)
        return found


APPEARANCE_METADATA = ("embedding_dim", "map_shape")
GRAPH_METADATA = ("regions", "names", "edges", "edge_types", "mirror")


@dataclass(frozen=True)
class Dataset:
    """Features and what they mean.

    `clip_ids` names the M usable clips. Frames of clip m are the rows `first[m]` up to
    `first[m + 1]` (int64 [M + 1]); `frame_index` (int64 [R]) are their numbers in the video, and
    `valid` (bool [R]) says which show a face. `partition` says of which clips `features` are: all
    where one process trains. `label` is a clip's class (int64 [M]) or target values (float32
    [M, A]); where frames are labeled it is blank (-1 or NaN), and `frame_labels` has an entry per
    clip. `kind` is the task that the labels are of. `metadata` is what a network or a prediction
    needs of the appearance and the graph stage, `keys` each clip's upstream keys and
    `pooling_key` a digest of the pooling that all clips share. `storage` is the file of
    shared features. `further` has what else is learned from the same clips.
    """

    clip_ids: list[str]
    first: np.ndarray
    frame_index: np.ndarray
    valid: np.ndarray
    label: np.ndarray
    partition: Partition
    features: Features
    metadata: dict[str, Any]
    keys: dict[str, str]
    pooling_key: str
    frame_labels: Mapping[str, FrameLabels] | None = None
    storage: SharedFeatures | None = None
    kind: Kind = field(default_factory=lambda: Expression([]))
    further: tuple[FurtherLabels, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for a spawned process: the shared file instead of the tensors in it."""
        assert self.storage is not None, "features that are not shared are not copied either"
        return {**vars(self), "features": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, features=state["storage"].features())

    def of_further(self, one: FurtherLabels) -> Dataset:
        """Return the same features with the labels of a further task."""
        return replace(
            self, kind=one.kind, label=one.label, frame_labels=one.frame_labels, further=()
        )

    def rows(self, clips: np.ndarray) -> np.ndarray:
        """Return all rows of some clips, clip by clip: int64."""
        spans = [np.arange(self.first[clip], self.first[clip + 1]) for clip in clips]
        return np.concatenate(spans) if spans else np.zeros(0, np.int64)

    def row_labels(self) -> np.ndarray:
        """Return the label of each row, int64 [R] or float32 [R, A]: its clip's, or its frame's
        (blank: none)."""
        if self.frame_labels is None:
            return np.repeat(self.label, np.diff(self.first), axis=0)
        shape = (len(self.frame_index), *self.label.shape[1:])
        label = np.full(shape, blank_like(self.label), self.label.dtype)
        for clip, name in enumerate(self.clip_ids):
            span = slice(self.first[clip], self.first[clip + 1])
            known = self.frame_labels[name]
            if not len(known.index):
                continue
            frames = self.frame_index[span]
            at = np.minimum(np.searchsorted(known.index, frames), len(known.index) - 1)
            same = known.index[at] == frames
            label[span][same] = known.label[at[same]]
        return label


def load_dataset(
    labels: Mapping[str, Any],
    appearance: ShardReader,
    graphs: ShardReader,
    *,
    frame_labels: Mapping[str, FrameLabels] | None = None,
    kind: Kind | None = None,
    further: Sequence[Further] = (),
    views: str | None = None,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
    shared: bool = False,
) -> Dataset:
    """Read the features of the labeled clips that no stage has quarantined.

    Node features are pooled from the map clip by clip, so only one clip's maps are in memory: N x C
    numbers per frame instead of h x w x C.

    Args:
        labels: class index or target values of each clip (blank where its frames are labeled), in
            manifest order.
        frame_labels: of each clip, where frames are labeled.
        kind: the task; None: classes, without their names.
        further: what else is learned.
        views: how two views of a face are fused (`views.fusion`); None: one view is read.
        device: where the maps are pooled.
        rank, world: of `world` processes, the number of the one whose partition is read.
        shared: store them where spawned processes can read them (`Dataset.storage`).

    Raises:
        UserError: no clip is usable, or there are fewer than processes; or the auxiliary view was
            not computed.
    """
    clip_ids = [clip for clip in labels if appearance.entry(clip).ok and graphs.entry(clip).ok]
    if not clip_ids:
        raise UserError("no clip has features to train on: see the reasons in reports/index.html")
    if len(clip_ids) < world:
        raise UserError(f"{len(clip_ids)} usable clips cannot be shared by {world} processes")
    metadata = {name: appearance.metadata[name] for name in APPEARANCE_METADATA}
    metadata |= {name: graphs.metadata[name] for name in GRAPH_METADATA}
    columns = ["frame_index", "valid", "embedding", "map"]
    if views:
        metadata["views"] = views
        columns += ["parts_embedding", "parts_map"]
        if "parts" not in appearance.metadata.get("views", []):
            raise UserError(
                "data/appearance has no auxiliary view: set appearance.views: [face, parts] and "
                "run `dvc repro`"
            )
    length = np.array([appearance.entry(clip).rows for clip in clip_ids])
    first = np.cumsum([0, *length])
    partition = Partition.deal(length, rank, world)
    storage = SharedFeatures(partition.length, metadata) if shared else None
    features = empty_features(partition.length, metadata, storage)
    frame_index, valid = np.zeros(first[-1], np.int64), np.zeros(first[-1], bool)
    constant = graphs.metadata["pooling"]
    pooling = None if constant is None else torch.tensor(constant, device=device)
    for number, clip in enumerate(clip_ids):
        rows = slice(first[number], first[number + 1])
        # of another process's clip the small columns alone
        mine = partition.mine(number)
        seen = appearance.read(clip, columns if mine else columns[:2])
        graph = graphs.read(clip, None if mine else ["valid"])
        if len(seen) != len(graph):
            raise UserError(
                f"clip {clip}: {len(seen)} frames in data/appearance but {len(graph)} in "
                "data/graphs: run `dvc repro`"
            )
        frame_index[rows] = seen["frame_index"].to_numpy()
        valid[rows] = seen["valid"].to_numpy() & graph["valid"].to_numpy()
        if mine:
            start = int(partition.place[rows.start])
            span = slice(start, start + len(seen))
            _fill(features, span, valid[rows], seen, graph, metadata, pooling, device)
    return Dataset(
        clip_ids,
        first,
        frame_index,
        valid,
        _label_array([labels[clip] for clip in clip_ids]),
        partition,
        features,
        metadata,
        {clip: f"{appearance.entry(clip).key} {graphs.entry(clip).key}" for clip in clip_ids},
        digest(constant),
        frame_labels,
        storage,
        kind or Expression([]),
        tuple(FurtherLabels.of(one, clip_ids) for one in further),
    )


def _label_array(labels: Sequence[Any]) -> np.ndarray:
    """Stack classes to int64 [M], or target values to float32 [M, A]."""
    found = np.array(labels)
    return found.astype(np.float32 if found.ndim > 1 else np.int64)


def _fill(
    features: Features,
    span: slice,
    valid: np.ndarray,
    seen: pa.Table,
    graph: pa.Table,
    metadata: Mapping[str, Any],
    constant_NS: Tensor | None,
    device: torch.device | str,
) -> None:
    """Write a clip's rows from its tables."""
    channels, height, width = metadata["map_shape"]
    regions = len(metadata["names"])
    pooling = constant_NS
    if pooling is None:
        stored = to_numpy(graph["pooling"], (regions, height * width))
        pooling = as_float(stored, valid).to(device)
    sizes = (metadata["embedding_dim"],), (channels, height, width)
    parts = None
    if metadata.get("views"):
        parts = (
            to_numpy(seen["parts_embedding"], sizes[0]),
            to_numpy(seen["parts_map"], sizes[1]),
        )
    fill(
        features,
        span,
        valid,
        embedding=to_numpy(seen["embedding"], sizes[0]),
        maps=to_numpy(seen["map"], sizes[1]),
        parts=parts,
        node_xy=to_numpy(graph["node_xy"], (regions, 2)),
        visible=to_numpy(graph["visible"], (regions,)),
        pooling=pooling,
    )


def fill(
    features: Features,
    span: slice,
    valid: np.ndarray,
    *,
    embedding: np.ndarray,
    maps: np.ndarray,
    node_xy: np.ndarray,
    visible: np.ndarray,
    pooling: Tensor,
    parts: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the features of T frames, as the appearance and the graph stage store them.

    Maps are pooled on the device of `pooling`, and are not stored.

    Shapes:
        valid: bool [T]; rows that are not are written as zeros.
        embedding, maps: float16 [T, E] and [T, C, h, w].
        node_xy, visible: [T, N, 2] and [T, N].
        pooling: float32 [N, h * w] of all frames, or [T, N, h * w].
        parts: of a second view embedding and maps, as those of the first.
    """
    map_TChw = as_float(maps, valid).to(pooling.device)
    weights = pooling if pooling.ndim == 2 else pooling[None]
    features.nodes[span] = pool_nodes(map_TChw[None], weights)[0].cpu()
    features.map_vector[span] = map_TChw.mean(dim=(-2, -1)).cpu()
    features.embedding[span] = as_float(embedding, valid)
    features.node_xy[span] = as_float(node_xy, valid)
    features.visible[span] = as_float(visible, valid).bool()
    features.valid[span] = torch.from_numpy(valid)
    if parts is not None:
        other_TChw = as_float(parts[1], valid)
        optional = features.tensors()
        optional["parts_embedding"][span] = as_float(parts[0], valid)
        optional["parts_map"][span] = other_TChw.mean(dim=(-2, -1))
        if "parts_cells" in optional:
            optional["parts_cells"][span] = other_TChw.flatten(2).transpose(1, 2)


def as_float(values: np.ndarray, valid: np.ndarray) -> Tensor:
    """Convert rows to float32, zero where a frame is not valid (whatever was stored there)."""
    rows = values.astype(np.float32)
    rows[~valid] = 0
    return torch.from_numpy(rows)


def load(
    manifest: Manifest,
    root: Path,
    device: torch.device | str = "cpu",
    *,
    task: TaskParams | None = None,
    views: str | None = None,
    rank: int = 0,
    world: int = 1,
    shared: bool = False,
) -> tuple[Dataset, Labels]:
    """Load the usable clips' features (this process's partition) and the labels of every labeled
    clip, quarantined ones too. See `load_dataset`.

    Args:
        task: what is learned; None: expressions.
        views: as in `load_dataset`.
    """
    task = task or TaskParams()
    kind, labels = read_task(task, manifest, root)
    dataset = load_dataset(
        labels.of_clip,
        ShardReader(root / "data/appearance"),
        ShardReader(root / "data/graphs"),
        frame_labels=labels.of_frames,
        kind=kind,
        further=read_further(task, manifest, root),
        views=views,
        device=device,
        rank=rank,
        world=world,
        shared=shared,
    )
    return dataset, labels
