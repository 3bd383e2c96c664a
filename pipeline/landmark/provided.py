"""Landmarks that the data set provides: 68 points per image, read by the decode stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES
from arpgnet.pipeline.landmark.clip import landmark_schema, points_of
from arpgnet.pipeline.runner.work import ClipWorkBase, upstream_reason
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, rows_of_valid, to_numpy

SCHEME = SCHEMES["68"]


@dataclass(frozen=True)
class ProvidedLandmarkClip(ClipWorkBase):
    """The landmark stage's work where `faces.landmarks` is `provided`; see `LandmarkClip`.

    Attributes:
        frames: the output of decode, which holds the points.
        faces: the output of align.
    """

    frames: Path
    faces: Path

    @property
    def stage(self) -> str:
        return "landmark"

    @property
    def schema(self) -> pa.Schema:
        return landmark_schema(SCHEME)

    @cached_property
    def _frames(self) -> ShardReader:
        return ShardReader(self.frames)

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the clip's frames, which hold the points, and its faces."""
        keys = [reader.entry(clip.clip_id).key for reader in (self._frames, self._faces)]
        return ["provided", *keys, clip.landmarks is not None]

    def metadata(self) -> dict[str, Any]:
        return {"scheme": SCHEME.name, "N": SCHEME.points, "model_sha256": None}

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._faces)

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """Yield the clip's rows.

        Raises:
            ClipError: the data set has no landmarks for this clip.
        """
        if clip.landmarks is None:
            raise ClipError(
                "the data set provides no landmarks: set faces.landmarks=pack (where it has some, "
                "they are read with faces.source=aligned)"
            )
        frames = self._frames.pieces(clip.clip_id, ["points"])
        faces = self._faces.pieces(clip.clip_id, ["frame_index", "valid", "matrix"])
        for stored, face in zip(frames, faces, strict=True):
            yield self._piece(stored.column("points"), face)

    def _piece(self, stored: pa.ChunkedArray, faces: pa.Table) -> pa.Table:
        valid = faces.column("valid").to_numpy() & stored.is_valid().to_numpy()
        points = {}
        if valid.any():
            lists = stored.filter(pa.array(valid)).to_pylist()
            in_image = np.array(lists, np.float32).reshape(-1, SCHEME.points, 2)
            points = points_of(in_image, to_numpy(faces.column("matrix"), (2, 3))[valid])
        return rows_of_valid(self.schema, faces.column("frame_index"), valid, points)
