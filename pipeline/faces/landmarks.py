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

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.clips import Clip
from pipeline.errors import ClipError, UserError
from pipeline.faces.alignment import CONTEXT_PX, CONTEXT_SCALE, apply, square_matrix
from pipeline.faces.network import ImageNetwork
from pipeline.faces.packs import ModelSpec
from pipeline.faces.schemes import SCHEMES, Scheme
from pipeline.faces.sessions import CPU, CUDA, Device, choose_provider, runtime_version
from pipeline.jpeg import decode_jpeg
from pipeline.shards import ShardReader, fixed, to_numpy
from pipeline.work import ClipWorkBase, upstream_reason

# Side of the square around the box that the network sees, in parts of the box's longer side.
# PFLD's tight square, checked on 75 frames of 6 people: with 1.0 it differs from itself on the
# mirrored picture by 5.0 % of the eye distance (1.2: 6.2 %), from the detector's keypoints by
# 5.0 % (1.2: 4.6 %, 1.3: 6.2 %)
BOX_SCALE = {"2d106": 1.5, "68": 1.5, "pfld98": 1.0}
# pictures at a time: on a CPU, PFLD takes 2.6 ms a picture by 4 and 3.1 ms by 16 (one core)
BATCH = {CPU: 4, CUDA: 32}

Points = npt.NDArray[np.float32]


class LandmarkNetwork:
    """A pack's landmark network, ready to run.

    Raises:
        UserError: the graph cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, *, device: Device = "cpu", threads: int = 1) -> None:
        self.scheme = SCHEMES[spec.scheme]
        self._spec = spec
        self._network = ImageNetwork(
            spec, batch=BATCH[choose_provider(device)], device=device, threads=threads
        )

    def locate(self, contexts: npt.NDArray[np.uint8], boxes: npt.NDArray[np.floating]) -> Points:
        """Landmarks in image pixels, float32 [T, P, 2].

        Args:
            contexts: what `alignment.context` cut out of T RGB images, uint8 [T, 192, 192, 3].
            boxes: the faces, [T, 4] x1 y1 x2 y2 in image pixels.

        Raises:
            UserError: the network does not give the scheme's number of points.
        """
        output = self._network.run(self._inputs(contexts))[0]
        width = output[0].size
        if width != 2 * self.scheme.points:
            raise UserError(
                f"{self._spec.path.name} is no {self._spec.kind} network: it gives {width} numbers "
                f"a face, expected {2 * self.scheme.points}; correct models.landmark in pack.yaml"
            )
        side, scale = self._spec.input_px, BOX_SCALE[self._spec.kind]
        points: npt.NDArray[Any] = output.reshape(len(contexts), -1, 2)
        # PFLD counts from 0 to 1 across its input, the others from -1 to 1
        points = points * side if self._spec.kind == "pfld98" else (points + 1) * (side // 2)
        found = [
            apply(cv2.invertAffineTransform(square_matrix(box, side, scale)), face)
            for box, face in zip(boxes, points, strict=True)
        ]
        return np.stack(found)

    def _inputs(self, contexts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The middle of each context that the network sees, uint8 [T, S, S, 3]."""
        side, scale = self._spec.input_px, BOX_SCALE[self._spec.kind]
        if (side, scale) == (CONTEXT_PX, CONTEXT_SCALE):
            return contexts
        zoom = side / CONTEXT_PX * CONTEXT_SCALE / scale
        shift = side / 2 - zoom * CONTEXT_PX / 2
        matrix = np.array([[zoom, 0.0, shift], [0.0, zoom, shift]])
        return np.stack([cv2.warpAffine(picture, matrix, (side, side)) for picture in contexts])


def landmark_schema(scheme: Scheme) -> pa.Schema:
    """Of the stage's rows: every frame of data/faces, points in crop and in picture pixels."""
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


@dataclass(frozen=True)
class LandmarkClip(ClipWorkBase):
    """The landmark stage's work on a clip; see `pipeline.engine.ClipWork`.

    Attributes:
        faces: the out of align.
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
        """The clip's faces, the network, and what runs it."""
        return [
            self._faces.entry(clip.clip_id).key,
            self.model.identity,
            runtime_version(self.device),
        ]

    def facts(self) -> dict[str, Any]:
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
        in_image = np.zeros((len(valid), SCHEMES[self.model.scheme].points, 2), np.float32)
        in_crop = np.zeros_like(in_image)
        rows = np.flatnonzero(valid)
        if len(rows):
            jpegs = faces.column("context").take(rows).to_pylist()
            contexts = np.stack([decode_jpeg(jpeg) for jpeg in jpegs])
            in_image[rows] = self._network.locate(contexts, boxes[rows])
        for row in rows:
            in_crop[row] = apply(matrices[row], in_image[row])
        if not np.isfinite(in_crop).all():
            raise ClipError("the landmark network gave a number that is not finite")
        columns = [
            faces.column("frame_index"),
            faces.column("valid"),
            fixed(in_crop),
            fixed(in_image),
        ]
        schema = self.schema.remove(0)  # the engine writes clip_id
        return pa.table(columns, names=schema.names).cast(schema)
