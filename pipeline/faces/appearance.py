"""Appearance of a clip's face: the CNN's embedding and its last feature map in every frame.

T frames, D embedding width, C x h x w the map (512 x 7 x 7 for IResNet and MobileFaceNet).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.clips import Clip
from pipeline.errors import ClipError, UserError
from pipeline.faces.alignment import CROP_PX
from pipeline.faces.network import ImageNetwork, Precision
from pipeline.faces.packs import ModelSpec
from pipeline.faces.receptive_field import Centres, map_centres
from pipeline.faces.sessions import Device, find_map_tensor, load_graph, runtime_version
from pipeline.shards import ShardReader, fixed
from pipeline.work import ClipWorkBase, upstream_reason

MapShape = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """What comes out of an embedding network."""

    map_tensor: str
    map_shape: MapShape
    embedding_dim: int


@cache
def layout(spec: ModelSpec) -> Layout:
    """The pack's word for it, or what the graph says where the pack is silent.

    Raises:
        UserError: neither says, or the network takes no aligned crops.
    """
    if spec.input_px != CROP_PX:
        raise UserError(
            f"{spec.path.name} takes {spec.input_px} pixels, the aligned crops have {CROP_PX}: "
            "choose another pack"
        )
    tensor, shape, width = spec.map_tensor, spec.map_shape, spec.embedding_dim
    if tensor is None or shape is None or width is None:
        graph = load_graph(spec.path)
        if tensor is None or shape is None:
            found_tensor, found_shape = find_map_tensor(graph)
            if tensor not in (None, found_tensor):
                raise UserError(
                    f"{spec.path.name}: give map_shape beside map_tensor: {tensor} in pack.yaml"
                )
            tensor, shape = found_tensor, found_shape
        if width is None:
            width = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not width:
        raise UserError(f"{spec.path.name}: give models.embedding.embedding_dim in pack.yaml")
    return Layout(tensor, shape, width)


def centres(spec: ModelSpec) -> Centres:
    """Which crop pixels the cells of the map look at."""
    out = layout(spec)
    return map_centres(load_graph(spec.path), out.map_tensor, out.map_shape[2], CROP_PX)


class AppearanceNetwork:
    """A pack's embedding network with its last feature map as a second output.

    Raises:
        UserError: the graph cannot be loaded, or has no such map tensor.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        batch: int,
        device: Device = "cpu",
        threads: int = 1,
        precision: Precision = "fp32",
    ) -> None:
        self.layout = layout(spec)
        self._name = spec.path.name
        self._network = ImageNetwork(
            spec,
            batch=batch,
            device=device,
            threads=threads,
            extra_outputs=[self.layout.map_tensor],
            precision=precision,
        )

    def describe(
        self, crops: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Aligned RGB crops uint8 [T, S, S, 3] -> embeddings [T, D] as they leave the network,
        not normalised, and maps [T, C, h, w].

        Raises:
            UserError: the shapes are not those of the layout.
        """
        embeddings, maps = self._network.run(crops)
        embeddings = embeddings.reshape(len(crops), -1)
        found = (embeddings.shape[1], *maps.shape[1:])
        expected = (self.layout.embedding_dim, *self.layout.map_shape)
        if found != expected:
            raise UserError(
                f"{self._name} gives embedding_dim and map_shape {list(found)}, pack.yaml says "
                f"{list(expected)}: correct models.embedding"
            )
        return embeddings, maps


def to_half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """float32 to float16, refusing what float16 cannot hold.

    A face embedding network's values lie below 100; one beyond 65504 means a broken graph or a
    wrong mean and std. Clipping it would hide that, and scaling a clip would make clips
    incomparable.

    Raises:
        ClipError: a value is not finite or larger than 65504.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise ClipError(f"the appearance network gave {largest:g}, more than float16 can hold")
    return values.astype(np.float16)


@dataclass(frozen=True)
class AppearanceClip(ClipWorkBase):
    """The appearance stage's work on a clip; see `pipeline.engine.ClipWork`.

    Attributes:
        faces: the out of align.
        model: the pack's embedding network.
        pack: the pack's name.
        batch: crops a forward pass; part of the key, because it changes last bits.
        precision: `bf16` runs the network in torch, where its graph can be imported.
    """

    faces: Path
    model: ModelSpec
    pack: str
    batch: int
    device: Device = "cpu"
    precision: Precision = "fp32"

    @property
    def stage(self) -> str:
        return "appearance"

    @property
    def schema(self) -> pa.Schema:
        out = layout(self.model)
        cells = int(np.prod(out.map_shape))
        return pa.schema(
            [
                pa.field("clip_id", pa.string(), nullable=False),
                pa.field("frame_index", pa.int32(), nullable=False),
                pa.field("valid", pa.bool_(), nullable=False),
                pa.field("embedding", pa.list_(pa.float16(), out.embedding_dim), nullable=False),
                pa.field("map", pa.list_(pa.float16(), cells), nullable=False),
            ]
        )

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    @cached_property
    def _network(self) -> AppearanceNetwork:
        return AppearanceNetwork(
            self.model, batch=self.batch, device=self.device, precision=self.precision
        )

    def inputs(self, clip: Clip) -> list[Any]:
        """The clip's faces, the network, and what runs it."""
        return [
            self._faces.entry(clip.clip_id).key,
            self.model.identity,
            runtime_version(self.device),
            self.precision,
            self.batch,
        ]

    def facts(self) -> dict[str, Any]:
        out, cells = layout(self.model), centres(self.model)
        return {
            "embedding_dim": out.embedding_dim,
            "map_shape": list(out.map_shape),
            # cell i looks at crop pixel first + i * step
            "map_centres": [cells.first, cells.step],
            "map_tensor": out.map_tensor,
            "pack": self.pack,
            "model_sha256": self.model.sha256,
            **({"tuned_sha256": self.model.weights_sha256} if self.model.weights else {}),
        }

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._faces)

    def setup(self) -> None:
        _ = self._network

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        for faces in self._faces.pieces(clip.clip_id, ["frame_index", "valid", "crop"]):
            yield self._piece(faces)

    def _piece(self, faces: pa.Table) -> pa.Table:
        valid = faces.column("valid").to_numpy()
        out = layout(self.model)
        embeddings = np.zeros((len(valid), out.embedding_dim), np.float16)
        maps = np.zeros((len(valid), *out.map_shape), np.float16)
        rows = np.flatnonzero(valid)
        if len(rows):
            found, found_maps = self._network.describe(self._crops(faces, rows))
            embeddings[rows], maps[rows] = to_half(found), to_half(found_maps)
        columns = [
            faces.column("frame_index"),
            faces.column("valid"),
            fixed(embeddings),
            fixed(maps),
        ]
        schema = self.schema.remove(0)  # the engine writes clip_id
        return pa.table(columns, names=schema.names).cast(schema)

    def _crops(self, faces: pa.Table, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        crops = faces.column("crop").take(rows).to_pylist()
        return np.frombuffer(b"".join(crops), np.uint8).reshape(-1, CROP_PX, CROP_PX, 3)
