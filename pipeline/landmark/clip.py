"""Landmarks of a clip's face: 106, 98 or 68 points in every frame.

The networks are fed as InsightFace's `Landmark` class feeds them (2d106 and 68) and as PFLD's
authors do (98), in batches where the graph allows.

T frames, P landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.geometry.alignment import apply
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, Scheme
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import Device, runtime_version
from arpgnet.pipeline.runner.work import ClipWorkBase, upstream_reason
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, rows_of_valid, to_numpy
from arpgnet.pipeline.video.frames import decode_jpeg


def landmark_schema(scheme: Scheme) -> pa.Schema:
    """Return the schema of the stage's rows: every frame of data/faces, points in both pixels."""
    points = pa.list_(pa.float32(), 2 * scheme.points)
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            pa.field("frame_index", pa.int32(), nullable=False),
            pa.field("valid", pa.bool_(), nullable=False),
            pa.field("points_crop", points, nullable=False),
            pa.field("points_image", points, nullable=False),
        ]
    )


def points_of(in_image: np.ndarray, matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of points, [k, P, 2] each, of faces aligned by `matrices` [k, 2, 3]."""
    in_crop = [apply(matrix, points) for matrix, points in zip(matrices, in_image, strict=True)]
    return {"points_crop": np.stack(in_crop), "points_image": in_image}


@dataclass(frozen=True)
class LandmarkClip(ClipWorkBase):
    """The landmark stage's work on a clip; see `pipeline.runner.engine.ClipWork`.

    Attributes:
        faces: the output of align.
        model: the pack's landmark network.
    """

    faces: Path
    model: ModelSpec
    device: Device = "cpu"

    @property
    def stage(self) -> str:
        return "landmark"

    @property
    def schema(self) -> pa.Schema:
        return landmark_schema(SCHEMES[self.model.scheme])

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    @cached_property
    def _network(self) -> LandmarkNetwork:
        return LandmarkNetwork(self.model, device=self.device)

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the clip's faces, the network, and what runs it."""
        return [
            self._faces.entry(clip.clip_id).key,
            self.model.identity,
            runtime_version(self.device),
        ]

    def metadata(self) -> dict[str, Any]:
        scheme = SCHEMES[self.model.scheme]
        return {"scheme": scheme.name, "N": scheme.points, "model_sha256": self.model.sha256}

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._faces)

    def setup(self) -> None:
        _ = self._network

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        columns = ["frame_index", "valid", "bbox", "matrix", "context"]
        for faces in self._faces.pieces(clip.clip_id, columns):
            yield self._piece(faces)

    def _piece(self, faces: pa.Table) -> pa.Table:
        valid = faces.column("valid").to_numpy()
        boxes = to_numpy(faces.column("bbox"), (4,))
        matrices = to_numpy(faces.column("matrix"), (2, 3))
        points = {}
        if valid.any():
            jpegs = faces.column("context").filter(pa.array(valid)).to_pylist()
            contexts = np.stack([decode_jpeg(jpeg) for jpeg in jpegs])
            points = points_of(self._network.locate(contexts, boxes[valid]), matrices[valid])
            if not np.isfinite(points["points_crop"]).all():
                raise ClipError("the landmark network gave a number that is not finite")
        return rows_of_valid(self.schema, faces.column("frame_index"), valid, points)
