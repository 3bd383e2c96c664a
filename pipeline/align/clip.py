"""The align stage's work on one clip: find faces, follow them, choose one, turn it upright."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arpgnet.pipeline.align.provided import face_of_points, nominal_face, whole_image
from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.geometry.alignment import CONTEXT_QUALITY, context, similarity, warp
from arpgnet.pipeline.geometry.quality import face_px
from arpgnet.pipeline.geometry.tracks import Track, choose, link, of_person
from arpgnet.pipeline.networks.detector import Detections, Detector, Image, open_detector
from arpgnet.pipeline.networks.follower import make_follower
from arpgnet.pipeline.networks.packs import Pack
from arpgnet.pipeline.networks.sessions import Device, runtime_version
from arpgnet.pipeline.runner.spool import Spool
from arpgnet.pipeline.runner.work import ClipWorkBase
from arpgnet.pipeline.tables.manifest import QUARANTINED, Clip
from arpgnet.pipeline.tables.shards import ShardReader, fixed, without_clip_id
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg

# every frame of data/frames is a row; where `valid` is false the numbers are 0, `crop` (raw RGB
# bytes) and `context` (JPEG) are empty; but a face that `align.min_face_px` masks keeps its box and
# score
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
        pa.field("context", pa.binary(), nullable=False),
    ]
)
_NOTHING = Detections(*(np.zeros((0, *rest), np.float32) for rest in ((4,), (), (5, 2))))


@dataclass(frozen=True)
class AlignClip(ClipWorkBase):
    """`ClipWork` of the align stage.

    Args:
        frames: the folder that the decode stage wrote.
        pack: its detector is run, whose sha256 has been checked by `load_pack`; its embedding
            network says how large the crops are.
        align: settings.
        device: `faces.device`.
    """

    frames: Path
    pack: Pack
    align: AlignParams
    device: Device = "auto"

    stage = "align"
    schema = FACES_SCHEMA

    @property
    def crop_px(self) -> int:
        """Side of the crops."""
        return self.pack.models["embedding"].input_px

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the clip's frames, and all that can change what is made of them."""
        return [
            self._reader.entry(clip.clip_id).key,
            self.align,
            self.pack.models["detector"].identity,
            runtime_version(self.device),
            clip.faces,
            clip.person,
            self.crop_px,
        ]

    def metadata(self) -> dict[str, Any]:
        """Return what holds for every clip."""
        return {
            "pack": self.pack.name,
            "license": self.pack.license,
            "detector_sha256": self.pack.models["detector"].sha256,
            "crop_px": self.crop_px,
        }

    def upstream_failure(self, clip: Clip) -> str | None:
        """Return why there are no frames of this clip, or None."""
        if clip.status == QUARANTINED:
            return clip.reason
        return self._reader.entry(clip.clip_id).reason

    def setup(self) -> None:
        """Load the detector; once per process."""
        _ = self._detector

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """Yield the clip's rows of `FACES_SCHEMA` less `clip_id`, one for each row of its frames.

        A face's crops are cut out when it is found, while its frame is there, and wait in a
        spool until it is known which face is the clip's. Nothing is looked for where the data
        set says where the face is.

        Raises:
            ClipError: no frame has a face that can be aligned.
        """
        with Spool() as crops:
            if clip.faces != "detect":
                yield from self._provided_faces(clip, crops)
                return
            follower = make_follower(self._detector, self.align)
            frames = [
                self._cut_out(image, found, crops)
                for image, found in follower.follow(self._images(clip))
            ]
            tracks = link([faces.found.boxes for faces in frames], self.align.track_iou)
            sides = next(self._reader.pieces(clip.clip_id, ["width", "height"]))
            width, height = (sides.column(name)[0].as_py() for name in ("width", "height"))
            if clip.person:
                tracks = of_person(tracks, clip.person, width)
            track = choose(tracks, self.align.main_face, len(frames), width, height)
            rows = _Rows(len(frames), crops)
            if track is not None:
                rows.fill(track, frames, self.align.min_face_px)
            self._require(rows, f"no face found in any of {len(frames)} frames")
            yield from self._tables(clip, rows)

    def _provided_faces(self, clip: Clip, crops: Spool) -> Iterator[pa.Table]:
        """Yield the rows of a clip whose faces the data set gives."""
        frames: list[_Faces] = []
        for piece in self._reader.pieces(clip.clip_id, ["jpeg", "points"]):
            for jpeg, points in zip(piece.column("jpeg"), piece.column("points"), strict=True):
                image = decode_jpeg(jpeg.as_py())
                known = points.as_py()
                matrix: NDArray[np.float32] | None
                if clip.faces == "aligned":
                    matrix = whole = whole_image(*image.shape[1::-1])
                    box, kps = nominal_face(whole)
                elif known is None:
                    frames.append(_Faces(_NOTHING, [], []))
                    continue
                else:
                    box, kps, matrix = face_of_points(np.array(known).reshape(-1, 2))
                found = Detections(box[None], np.ones(1, np.float32), kps[None])
                frames.append(self._cut_out(image, found, crops, [matrix]))
        seen = [row for row, faces in enumerate(frames) if faces.matrices]
        rows = _Rows(len(frames), crops)
        boxes = [frames[row].found.boxes[0] for row in seen]
        rows.fill(Track(0, seen, [0] * len(seen), boxes), frames, self.align.min_face_px)
        self._require(rows, f"no landmarks that give a face in any of {len(frames)} frames")
        yield from self._tables(clip, rows)

    def _require(self, rows: _Rows, otherwise: str) -> None:
        """Raise a `ClipError` if no frame is left."""
        if rows.valid.any():
            return
        if (rows.score > 0).any():
            raise ClipError(
                f"every face is smaller than align.min_face_px ({self.align.min_face_px}): the "
                f"largest has {face_px(rows.bbox).max():.0f} pixels"
            )
        raise ClipError(otherwise)

    def _tables(self, clip: Clip, rows: _Rows) -> Iterator[pa.Table]:
        start = 0
        for piece in self._reader.pieces(clip.clip_id, ["frame_index", "time_s"]):
            yield rows.table(piece, start)
            start += piece.num_rows

    def _cut_out(
        self,
        image: Image,
        found: Detections,
        crops: Spool,
        matrices: list[NDArray[np.float32] | None] | None = None,
    ) -> _Faces:
        """Put each face's crop and its context into the spool, one behind the other."""
        matrices = matrices or [similarity(kps) for kps in found.kps]
        places = []
        for matrix, box in zip(matrices, found.boxes, strict=True):
            places.append(len(crops))
            if matrix is not None:
                crops.append(warp(image, matrix, self.crop_px).tobytes())
                crops.append(encode_jpeg(context(image, box), CONTEXT_QUALITY))
        return _Faces(found, matrices, places)

    def _images(self, clip: Clip) -> Iterator[tuple[float, Image]]:
        for piece in self._reader.pieces(clip.clip_id, ["time_s", "jpeg"]):
            for time_s, jpeg in zip(piece.column("time_s"), piece.column("jpeg"), strict=True):
                yield time_s.as_py(), decode_jpeg(jpeg.as_py())

    @cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self.frames)

    @cached_property
    def _detector(self) -> Detector:
        return open_detector(self.pack, self.align, self.device)


@dataclass(frozen=True)
class _Faces:
    """One frame's faces, and where their crop and context lie in the spool; None: no matrix."""

    found: Detections
    matrices: list[NDArray[np.float32] | None]
    places: list[int]


class _Rows:
    """The columns of `FACES_SCHEMA` for n frames, invalid until filled."""

    def __init__(self, n: int, crops: Spool) -> None:
        self._crops = crops
        self.valid = np.zeros(n, dtype=bool)
        self.track_id = np.full(n, -1, dtype=np.int32)
        self.score = np.zeros(n, dtype=np.float32)
        self.bbox = np.zeros((n, 4), dtype=np.float32)
        self.kps = np.zeros((n, 10), dtype=np.float32)
        self.matrix = np.zeros((n, 6), dtype=np.float32)
        self.place = np.zeros(n, dtype=np.int64)

    def fill(self, track: Track, frames: Sequence[_Faces], min_face_px: int) -> None:
        """Enter the track's faces; of smaller ones than `min_face_px` box and score alone."""
        for frame, pick in zip(track.frames, track.picks, strict=True):
            faces = frames[frame]
            matrix = faces.matrices[pick]
            if matrix is None:
                continue
            self.score[frame] = faces.found.scores[pick]
            self.bbox[frame] = faces.found.boxes[pick]
            if face_px(faces.found.boxes[pick]) < min_face_px:
                continue
            self.valid[frame] = True
            self.track_id[frame] = track.track_id
            self.kps[frame] = faces.found.kps[pick].ravel()
            self.matrix[frame] = matrix.ravel()
            self.place[frame] = faces.places[pick]

    def table(self, frames: pa.Table, start: int) -> pa.Table:
        """Return the rows for a piece of the frames that begins at number `start`."""
        rows = slice(start, start + frames.num_rows)
        columns = {
            **{name: frames.column(name) for name in ("frame_index", "time_s")},
            "valid": self.valid[rows],
            "track_id": self.track_id[rows],
            "det_score": self.score[rows],
            "bbox": fixed(self.bbox[rows]),
            "kps": fixed(self.kps[rows]),
            "matrix": fixed(self.matrix[rows]),
            "crop": pa.array(self._images(rows, 0), pa.binary()),
            "context": pa.array(self._images(rows, 1), pa.binary()),
        }
        return pa.table(columns, schema=without_clip_id(FACES_SCHEMA))

    def _images(self, rows: slice, which: int) -> list[bytes]:
        return [
            self._crops.read(int(place) + which) if valid else b""
            for valid, place in zip(self.valid[rows], self.place[rows], strict=True)
        ]
