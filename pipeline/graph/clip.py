"""The graph stage's work: where each region lies in each frame, and which regions are joined.

Nothing here reads a feature map: its shape is enough. So another grid or other edges never run
the CNN again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.geometry.grid import grid_pooling
from arpgnet.pipeline.geometry.pose import head_angles, within
from arpgnet.pipeline.geometry.regions import (
    Regions,
    place_regions,
    region_metadata,
    region_topology,
)
from arpgnet.pipeline.geometry.topology import Topology
from arpgnet.pipeline.runner.work import ClipWorkBase, upstream_reason
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, rows_of_valid, to_numpy


@dataclass(frozen=True)
class GraphClip(ClipWorkBase):
    """See `pipeline.runner.engine.ClipWork`. N regions, h x w the map's cells.

    Attributes:
        frames, faces, landmarks, appearance: the outputs of earlier stages; of frames the sizes are
            read, of faces the matrices, of appearance the metadata alone.
        regions: `grid` (`patches` x `patches` cells, 4 or 8 neighbors) or `landmark`.
        max_yaw: faces turned further, in degrees, are masked; None: none. It is a setting of this
            stage because the pose needs landmarks, and a change of it must not run their network.
    """

    frames: Path
    faces: Path
    landmarks: Path
    appearance: Path
    regions: Regions
    patches: int
    neighborhood: int
    max_yaw: float | None = None

    @property
    def stage(self) -> str:
        return "graph"

    @cached_property
    def topology(self) -> Topology:
        """Nodes and edges, the same in every frame."""
        return region_topology(self.regions, self.patches, self.neighborhood)

    @property
    def schema(self) -> pa.Schema:
        nodes, (_, height, width) = len(self.topology.names), self._map_shape
        fields = [
            pa.field("clip_id", pa.string(), nullable=False),
            pa.field("frame_index", pa.int32(), nullable=False),
            pa.field("valid", pa.bool_(), nullable=False),
            pa.field("node_xy", pa.list_(pa.float32(), 2 * nodes), nullable=False),
            pa.field("visible", pa.list_(pa.float32(), nodes), nullable=False),
        ]
        if self.regions == "landmark":
            cells = pa.list_(pa.float16(), nodes * height * width)
            fields.append(pa.field("pooling", cells, nullable=False))
        return pa.schema(fields)

    @cached_property
    def _frames(self) -> ShardReader:
        return ShardReader(self.frames)

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    @cached_property
    def _landmarks(self) -> ShardReader:
        return ShardReader(self.landmarks)

    @property
    def _map_shape(self) -> tuple[int, int, int]:
        channels, height, width = self._appearance["map_shape"]
        return channels, height, width

    @cached_property
    def _appearance(self) -> dict[str, Any]:
        return ShardReader(self.appearance).metadata

    @property
    def _scheme(self) -> str:
        return str(self._landmarks.metadata["scheme"])

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the clip's faces and landmarks, and where regions are looked for."""
        geometry: list[Any] = [
            self.patches
        ]  # the neighborhood and the map's size change the metadata alone
        if self.regions == "landmark":
            geometry = [*self._map_shape[1:], *self._appearance["map_centers"]]
        keys = [reader.entry(clip.clip_id).key for reader in (self._faces, self._landmarks)]
        gate = [] if self.max_yaw is None else [self.max_yaw]
        return [*keys, self._scheme, self.regions, geometry, *gate]

    def metadata(self) -> dict[str, Any]:
        pooling = None
        if self.regions == "grid":
            pooling = grid_pooling(self.patches, *self._map_shape[1:]).tolist()
        return {
            **region_metadata(self.regions, self.topology),
            "pooling": pooling,
            "map_shape": list(self._map_shape),
        }

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._frames, self._faces, self._landmarks)

    def setup(self) -> None:
        _ = self._frames, self._faces, self._landmarks, self._appearance

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """Yield the clip's rows.

        Raises:
            ClipError: `max_yaw` masks every frame.
        """
        name = clip.clip_id
        columns = ["frame_index", "valid", "points_crop"]
        if self.max_yaw is not None:
            columns.append("points_image")
        landmarks = self._landmarks.pieces(name, columns)
        frames = self._frames.pieces(name, ["width", "height"])
        faces = self._faces.pieces(name, ["matrix"])
        left = False
        for pieces in zip(landmarks, frames, faces, strict=True):
            table = self._piece(*pieces)
            left = left or pc.any(table.column("valid")).as_py()
            yield table
        if self.max_yaw is not None and not left:
            raise ClipError(f"every face is turned by more than graph.max_yaw ({self.max_yaw:g})")

    def _piece(self, landmarks: pa.Table, frames: pa.Table, faces: pa.Table) -> pa.Table:
        valid = landmarks.column("valid").to_numpy()
        shape = self._landmarks.metadata["N"], 2
        points = to_numpy(landmarks.column("points_crop"), shape)
        sides = np.stack([frames.column("width"), frames.column("height")], axis=1)
        if self.max_yaw is not None:
            valid = valid.copy()
            in_image = to_numpy(landmarks.column("points_image"), shape)[valid]
            angles = head_angles(in_image, self._scheme, sides[valid])
            valid[valid] = within(angles, self.max_yaw)
        placed = place_regions(
            self.regions,
            self.patches,
            self._scheme,
            (*self._map_shape[1:], *self._appearance["map_centers"]),
            points[valid],
            to_numpy(faces.column("matrix"), (2, 3))[valid],
            sides[valid],
        )
        return rows_of_valid(self.schema, landmarks.column("frame_index"), valid, placed)
