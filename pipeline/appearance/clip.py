"""Appearance of a clip's face: the CNN's embedding and its last feature map in every frame, and of
its enlarged parts where these are a second view.

T frames, D embedding width, C x h x w the map (512 x 7 x 7 for IResNet and MobileFaceNet).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.geometry.parts import assemble_parts, key_points
from arpgnet.pipeline.networks.appearance import (
    AppearanceNetwork,
    centers,
    layout,
    to_half,
)
from arpgnet.pipeline.networks.image_network import Precision
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import Device, runtime_version
from arpgnet.pipeline.runner.work import ClipWorkBase, upstream_reason
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, rows_of_valid, to_numpy


@dataclass(frozen=True)
class AppearanceClip(ClipWorkBase):
    """The appearance stage's work on a clip; see `pipeline.runner.engine.ClipWork`.

    Attributes:
        faces: the output of align.
        model: the pack's embedding network.
        pack: the pack's name.
        batch: crops per forward pass; part of the key, because it changes last bits.
        precision: `bf16` runs the network in torch, where its graph can be imported.
        views: `face`, or `face` and `parts`: then the rows have the parts' columns too.
    """

    faces: Path
    model: ModelSpec
    pack: str
    batch: int
    device: Device = "cpu"
    precision: Precision = "fp32"
    views: tuple[str, ...] = ("face",)

    @property
    def stage(self) -> str:
        return "appearance"

    @property
    def schema(self) -> pa.Schema:
        sizes = layout(self.model)
        cells = int(np.prod(sizes.map_shape))
        of_view = [
            pa.field("embedding", pa.list_(pa.float16(), sizes.embedding_dim), nullable=False),
            pa.field("map", pa.list_(pa.float16(), cells), nullable=False),
        ]
        return pa.schema(
            [
                pa.field("clip_id", pa.string(), nullable=False),
                pa.field("frame_index", pa.int32(), nullable=False),
                pa.field("valid", pa.bool_(), nullable=False),
                *of_view,
                *(one.with_name(f"parts_{one.name}") for one in of_view if self._dual),
            ]
        )

    @property
    def _dual(self) -> bool:
        return "parts" in self.views

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    @cached_property
    def _network(self) -> AppearanceNetwork:
        return AppearanceNetwork(
            self.model, batch=self.batch, device=self.device, precision=self.precision
        )

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the clip's faces, the network, and what runs it."""
        return [
            self._faces.entry(clip.clip_id).key,
            self.model.identity,
            runtime_version(self.device),
            self.precision,
            self.batch,
            *(["parts"] if self._dual else []),
        ]

    def metadata(self) -> dict[str, Any]:
        sizes, cells = layout(self.model), centers(self.model)
        return {
            "embedding_dim": sizes.embedding_dim,
            "map_shape": list(sizes.map_shape),
            # cell i looks at pixel first + i * step of a crop of 112 pixels
            "map_centers": [cells.first, cells.step],
            "map_tensor": sizes.map_tensor,
            "pack": self.pack,
            "model_sha256": self.model.sha256,
            **({"tuned_sha256": self.model.weights_sha256} if self.model.weights else {}),
            **({"views": list(self.views)} if self._dual else {}),
        }

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._faces)

    def setup(self) -> None:
        """Load the network; once per process.

        Raises:
            UserError: the network takes crops of another size than there are.
        """
        found, side = self._faces.metadata["crop_px"], self.model.input_px
        if found != side:
            raise UserError(
                f"{self.faces} has crops of {found} pixels, {self.model.path.name} takes {side}: "
                "run `dvc repro align`"
            )
        _ = self._network

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        columns = ["frame_index", "valid", "crop", *(["kps", "matrix"] if self._dual else [])]
        for faces in self._faces.pieces(clip.clip_id, columns):
            yield self._piece(faces)

    def _piece(self, faces: pa.Table) -> pa.Table:
        valid = faces.column("valid").to_numpy()
        values = {}
        if valid.any():
            data = b"".join(faces.column("crop").filter(pa.array(valid)).to_pylist())
            side = self.model.input_px
            crops = np.frombuffer(data, np.uint8).reshape(-1, side, side, 3)
            views = {"": crops}
            if self._dual:
                kps = to_numpy(faces.column("kps"), (5, 2))[valid]
                matrices = to_numpy(faces.column("matrix"), (2, 3))[valid]
                points = key_points(kps, matrices, side)
                views["parts_"] = assemble_parts(crops, points)
            for name, images in views.items():
                embeddings, maps = self._network.describe(images)
                values[f"{name}embedding"] = to_half(embeddings)
                values[f"{name}map"] = to_half(maps)
        return rows_of_valid(self.schema, faces.column("frame_index"), valid, values)
