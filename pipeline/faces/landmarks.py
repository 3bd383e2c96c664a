"""Landmarks of a clip's face: 106, 98 or 68 points in every frame.

The networks are fed as InsightFace's `Landmark` class feeds them (2d106 and 68) and as PFLD's
authors do (98), in batches where the graph allows.

T frames, P landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.faces.alignment import apply
from pipeline.faces.clip_work import ClipWorkBase, model_identity, upstream_reason
from pipeline.faces.network import ImageNetwork
from pipeline.faces.packs import ModelSpec
from pipeline.faces.schemes import SCHEMES
from pipeline.faces.sessions import Device, runtime_version
from pipeline.jpeg import decode_jpeg
from pipeline.shards import ShardReader, fixed, to_numpy
from pipeline.store import code_version, digest

# Side of the square around the box that the network sees, in parts of the box's longer side.
# PFLD's tight square, checked on 75 frames of 6 people: with 1.0 it differs from itself on the
# mirrored picture by 5.0 % of the eye distance (1.2: 6.2 %), from the detector's keypoints by
# 5.0 % (1.2: 4.6 %, 1.3: 6.2 %)
BOX_SCALE = {"2d106": 1.5, "68": 1.5, "pfld98": 1.0}
BATCH = 16  # pictures decoded and located at a time: 16 of 1920 x 1080 are 100 MB

CODE = (
    "pipeline.faces.alignment",
    "pipeline.faces.landmarks",
    "pipeline.faces.network",
    "pipeline.faces.blob",
    "pipeline.faces.sessions",
    "pipeline.jpeg",
)

Frame = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


class LandmarkNetwork:
    """A pack's landmark network, ready to run.

    Raises:
        UserError: the graph cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, *, device: Device = "cpu", threads: int = 1) -> None:
        self.scheme = SCHEMES[spec.scheme]
        self._spec = spec
        self._network = ImageNetwork(spec, batch=BATCH, device=device, threads=threads)

    def locate(self, frames: Sequence[Frame], boxes: npt.NDArray[np.floating]) -> Points:
        """Landmarks in image pixels, float32 [T, P, 2].

        Args:
            frames: T RGB images, uint8 [H, W, 3].
            boxes: the faces, [T, 4] x1 y1 x2 y2 in image pixels.

        Raises:
            UserError: the network does not give the scheme's number of points.
        """
        side, kind = self._spec.input_px, self._spec.kind
        to_crop = [crop_matrix(box, side, BOX_SCALE[kind]) for box in boxes]
        crops = [
            cv2.warpAffine(frame, matrix, (side, side))
            for frame, matrix in zip(frames, to_crop, strict=True)
        ]
        output = self._network.run(np.stack(crops), [self._network.output])[0]
        width = output[0].size
        if width != 2 * self.scheme.points:
            raise UserError(
                f"{self._spec.path.name} is no {kind} network: it gives {width} numbers a face, "
                f"expected {2 * self.scheme.points}; correct models.landmark in pack.yaml"
            )
        points: npt.NDArray[Any] = output.reshape(len(crops), -1, 2)
        # PFLD counts from 0 to 1 across its input, the others from -1 to 1
        points = points * side if kind == "pfld98" else (points + 1) * (side // 2)
        found = [
            apply(cv2.invertAffineTransform(matrix), face)
            for matrix, face in zip(to_crop, points, strict=True)
        ]
        return np.stack(found)


def crop_matrix(box: npt.NDArray[np.floating], side: int, scale: float) -> npt.NDArray[np.float64]:
    """The 2x3 matrix that maps a square around the box's centre to `side` x `side` pixels.

    The square's side is `scale` times the box's longer side; InsightFace's
    `face_align.transform` without rotation.
    """
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float64)
    # a box of no width, which a detector may give at the border, has no scale: take a pixel
    zoom = side / (max(x2 - x1, y2 - y1, 1.0) * scale)
    return np.array(
        [
            [zoom, 0.0, side / 2 - zoom * (x1 + x2) / 2],
            [0.0, zoom, side / 2 - zoom * (y1 + y2) / 2],
        ]
    )


@dataclass(frozen=True)
class LandmarkClip(ClipWorkBase):
    """The landmark stage's work on a clip; see `pipeline.engine.ClipWork`.

    Attributes:
        frames, faces: the outs of decode and align.
        model: the pack's landmark network.
    """

    frames: Path
    faces: Path
    model: ModelSpec
    device: Device = "cpu"

    @property
    def stage(self) -> str:
        return "landmark"

    @property
    def schema(self) -> pa.Schema:
        points = pa.list_(pa.float32(), 2 * SCHEMES[self.model.scheme].points)
        return pa.schema(
            [
                pa.field("clip_id", pa.string(), nullable=False),
                pa.field("frame_index", pa.int32(), nullable=False),
                pa.field("valid", pa.bool_(), nullable=False),
                pa.field("points_crop", points, nullable=False),
                pa.field("points_image", points, nullable=False),
            ]
        )

    @cached_property
    def _frames(self) -> ShardReader:
        return ShardReader(self.frames)

    @cached_property
    def _faces(self) -> ShardReader:
        return ShardReader(self.faces)

    @cached_property
    def _network(self) -> LandmarkNetwork:
        return LandmarkNetwork(self.model, device=self.device)

    def key(self, clip: Clip) -> str:
        return digest(
            self._frames.entry(clip.clip_id).key,
            self._faces.entry(clip.clip_id).key,
            code_version(*CODE),
            model_identity(self.model),
            runtime_version(self.device),
        )

    def facts(self) -> dict[str, Any]:
        scheme = SCHEMES[self.model.scheme]
        return {"scheme": scheme.name, "N": scheme.points, "model_sha256": self.model.sha256}

    def upstream_failure(self, clip: Clip) -> str | None:
        return upstream_reason(clip.clip_id, self._frames, self._faces)

    def setup(self) -> None:
        _ = self._network

    def run(self, clip: Clip) -> pa.Table:
        faces = self._faces.read(clip.clip_id, ["frame_index", "valid", "bbox", "matrix"])
        jpegs = self._frames.read(clip.clip_id, ["jpeg"]).column("jpeg")
        valid = faces.column("valid").to_numpy()
        boxes = to_numpy(faces.column("bbox"), (4,))
        matrices = to_numpy(faces.column("matrix"), (2, 3))
        in_image = np.zeros((len(valid), SCHEMES[self.model.scheme].points, 2), np.float32)
        in_crop = np.zeros_like(in_image)
        rows = np.flatnonzero(valid)
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            pictures = [decode_jpeg(jpegs[row].as_py()) for row in chosen.tolist()]
            in_image[chosen] = self._network.locate(pictures, boxes[chosen])
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
