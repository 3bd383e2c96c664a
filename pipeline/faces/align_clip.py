"""The align stage's work on one clip: find faces, follow them, choose one, turn it upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.clips import QUARANTINED, Clip
from pipeline.config import AlignParams
from pipeline.errors import ClipError
from pipeline.faces.alignment import CROP_PX, similarity, warp
from pipeline.faces.clip_work import ClipWorkBase
from pipeline.faces.detect import Detections, Detector, find_faces, make_detector
from pipeline.faces.packs import Pack
from pipeline.faces.sessions import Device, runtime_version
from pipeline.faces.track import Track, choose, link
from pipeline.jpeg import decode_jpeg
from pipeline.shards import ShardReader, fixed
from pipeline.store import code_version, digest

# every frame of data/frames is a row; where `valid` is false the numbers are 0, the crop is empty
FACES_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("valid", pa.bool_(), nullable=False),
        pa.field("track_id", pa.int32(), nullable=False),
        pa.field("det_score", pa.float32(), nullable=False),
        pa.field("bbox", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("kps", pa.list_(pa.float32(), 10), nullable=False),
        pa.field("matrix", pa.list_(pa.float32(), 6), nullable=False),
        pa.field("crop", pa.binary(), nullable=False),
    ]
)
CODE = (
    "pipeline.faces.align_clip",
    "pipeline.faces.alignment",
    "pipeline.faces.detect",
    "pipeline.faces.sessions",
    "pipeline.faces.track",
    "pipeline.jpeg",
)


@dataclass(frozen=True)
class AlignClip(ClipWorkBase):
    """`ClipWork` of the align stage.

    Args:
        frames: the folder that the decode stage wrote.
        pack: its detector is run; the sha256 has been checked by `load_pack`.
        align: settings.
        device: `faces.device`.
    """

    frames: Path
    pack: Pack
    align: AlignParams
    device: Device = "auto"

    stage = "align"
    schema = FACES_SCHEMA

    def key(self, clip: Clip) -> str:
        """The store's key: the clip's frames, and all that can change what is made of them."""
        return digest(self.stage, self._reader.entry(clip.clip_id).key, self._version)

    def facts(self) -> dict[str, Any]:
        """What holds for every clip."""
        return {
            "pack": self.pack.name,
            "licence": self.pack.licence,
            "detector_sha256": self.pack.models["detector"].sha256,
            "crop_px": CROP_PX,
        }

    def upstream_failure(self, clip: Clip) -> str | None:
        """Why there are no frames of this clip, or None."""
        if clip.status == QUARANTINED:
            return clip.reason
        return self._reader.entry(clip.clip_id).reason

    def setup(self) -> None:
        """Load the detector; once a process."""
        _ = self._detector

    def run(self, clip: Clip) -> pa.Table:
        """The clip's rows of `FACES_SCHEMA` less `clip_id`, one for each row of its frames.

        Raises:
            ClipError: no frame has a face that can be aligned.
        """
        frames = self._reader.read(clip.clip_id)
        jpegs = frames.column("jpeg").to_pylist()
        found = [find_faces(self._detector, decode_jpeg(j), self.align.pad_retry) for j in jpegs]
        tracks = link([faces.boxes for faces in found], self.align.track_iou)
        width, height = (frames.column(name)[0].as_py() for name in ("width", "height"))
        track = choose(tracks, self.align.main_face, len(jpegs), width, height)
        rows = _Rows(len(jpegs))
        if track is not None:
            rows.fill(track, found, jpegs)
        if not rows.valid.any():
            raise ClipError(f"no face found in any of {len(jpegs)} frames")
        return rows.table(frames)

    @cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self.frames)

    @cached_property
    def _version(self) -> str:
        detector = self.pack.models["detector"]
        return digest(
            code_version(*CODE),
            self.align,
            [detector.sha256, detector.kind, detector.input_px],
            runtime_version(self.device),
        )

    @cached_property
    def _detector(self) -> Detector:
        # one thread whatever the number of workers: sums are then added in one order
        return make_detector(
            self.pack.models["detector"],
            det_px=None if self.align.det_px == "pack" else self.align.det_px,
            thresh=self.align.det_thresh,
            device=self.device,
            threads=1,
        )


class _Rows:
    """The columns of `FACES_SCHEMA` for n frames, invalid until filled."""

    def __init__(self, n: int) -> None:
        self.valid = np.zeros(n, dtype=bool)
        self.track_id = np.full(n, -1, dtype=np.int32)
        self.score = np.zeros(n, dtype=np.float32)
        self.bbox = np.zeros((n, 4), dtype=np.float32)
        self.kps = np.zeros((n, 10), dtype=np.float32)
        self.matrix = np.zeros((n, 6), dtype=np.float32)
        self.crop = [b""] * n

    def fill(self, track: Track, found: Sequence[Detections], jpegs: Sequence[bytes]) -> None:
        """Enter the track's faces; frames are decoded a second time rather than all kept."""
        for frame, pick in zip(track.frames, track.picks, strict=True):
            faces = found[frame]
            matrix = similarity(faces.kps[pick])
            if matrix is None:
                continue
            self.valid[frame] = True
            self.track_id[frame] = track.track_id
            self.score[frame] = faces.scores[pick]
            self.bbox[frame] = faces.boxes[pick]
            self.kps[frame] = faces.kps[pick].ravel()
            self.matrix[frame] = matrix.ravel()
            self.crop[frame] = warp(decode_jpeg(jpegs[frame]), matrix).tobytes()

    def table(self, frames: pa.Table) -> pa.Table:
        columns = {
            **{name: frames.column(name) for name in ("frame_index", "time_s")},
            "valid": self.valid,
            "track_id": self.track_id,
            "det_score": self.score,
            "bbox": fixed(self.bbox),
            "kps": fixed(self.kps),
            "matrix": fixed(self.matrix),
            "crop": pa.array(self.crop, pa.binary()),
        }
        schema = FACES_SCHEMA.remove(FACES_SCHEMA.get_field_index("clip_id"))
        return pa.table(columns, schema=schema)
