"""Stills to aligned crops, in worker processes; what was computed is cached in the store.

N stills; a crop is uint8 [S, S, 3], RGB, of the size that the network takes.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.params import AlignParams, Params
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.geometry.alignment import CROP_PX, similarity, warp
from arpgnet.pipeline.networks.detector import Detector, Image, find_faces, make_detector
from arpgnet.pipeline.networks.packs import ModelSpec, Pack
from arpgnet.pipeline.networks.sessions import Device, runtime_version
from arpgnet.pipeline.runner.threads import use_one_thread
from arpgnet.pipeline.runner.work import PickledByFields
from arpgnet.pipeline.runner.workers import Limits, run_in_workers
from arpgnet.pipeline.stills.stills import Still
from arpgnet.pipeline.stills.target import square, thumbnail
from arpgnet.pipeline.store import Place, Store, code_version, digest

NAMESPACE = "stills"
# a killed run loses one chunk a worker; smaller ones make many small files in the store
CHUNK = 64
BAD_IMAGE = "not a readable image"
NO_FACE = "no face found"
CRASHED = "crashed or hung the reader"
_SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("crop", pa.binary()),
        pa.field("thumbnail", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Crop:
    """What became of a still: its sha256 ('' where it cannot be read), and why it has no crop.

    `thumbnail` is that of the whole image, see `pipeline.stills.target`.
    """

    sha256: str
    reason: str | None
    crop: bytes | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class CropJob(PickledByFields):
    """What a worker does: a chunk of stills; see `pipeline.runner.workers.Job`.

    Args:
        detector: of the pack; its sha256 has been checked by `load_pack`.
        align: `det_px`, `det_thresh` and `pad_retry` are used.
        aligned: `yes`, `no`, or `auto`: those of 112 x 112 pixels are.
        store: the root of the store.
        crop_px: S.
    """

    detector: ModelSpec
    align: AlignParams
    aligned: str
    device: Device
    store: Place
    crop_px: int = CROP_PX

    @classmethod
    def of(cls, params: Params, pack: Pack, aligned: str, store: Store, crop_px: int) -> CropJob:
        """Return the job of a stage with the pack's detector and the settings of alignment."""
        detector = pack.models["detector"]
        return cls(detector, params.align, aligned, params.faces.device, store.root, crop_px)

    def start(self) -> None:
        use_one_thread()

    def do(self, chunk: tuple[int, Sequence[Still]]) -> list[Crop]:
        data = [_bytes(still) for still in chunk[1]]
        sums = ["" if item is None else hashlib.sha256(item).hexdigest() for item in data]
        store, key = Store(self.store), self._key(sums, chunk[1])
        cached = store.get_table(NAMESPACE, key)
        if cached is not None:
            rows = pa.concat_tables(cached).to_pylist()
            return [Crop(**row) for row in rows]
        crops = [
            self._crop(still, item, total)
            for still, item, total in zip(chunk[1], data, sums, strict=True)
        ]
        columns = {name: [getattr(crop, name) for crop in crops] for name in _SCHEMA.names}
        store.put_table(NAMESPACE, key, [pa.table(columns, schema=_SCHEMA)])
        return crops

    def identity(self) -> list[Any]:
        """Return all but the stills that decides what is cut out of them."""
        align = self.align
        return [
            code_version(__name__),
            self.detector.identity,
            runtime_version(self.device),
            [align.det_px, align.det_thresh, align.pad_retry, self.aligned],
            self.crop_px,
        ]

    def _key(self, sums: list[str], stills: Sequence[Still]) -> str:
        return digest(sums, [still.gray is not None for still in stills], self.identity())

    @cached_property
    def _detector(self) -> Detector:
        px = None if self.align.det_px == "pack" else self.align.det_px
        return make_detector(
            self.detector, det_px=px, thresh=self.align.det_thresh, device=self.device
        )

    def _crop(self, still: Still, data: bytes | None, sha256: str) -> Crop:
        image = None if data is None else _image(still, data)
        if image is None:
            return Crop(sha256, BAD_IMAGE)
        crop = self._aligned(image)
        if crop is None:
            return Crop(sha256, NO_FACE)
        return Crop(sha256, None, crop.tobytes(), thumbnail(image).tobytes())

    def _aligned(self, image: Image) -> Image | None:
        is_crop = image.shape[:2] == (CROP_PX, CROP_PX)
        if self.aligned == "yes" or (self.aligned == "auto" and is_crop):
            wanted = (self.crop_px, self.crop_px)
            if image.shape[:2] != wanted:
                image = np.asarray(cv2.resize(image, wanted), dtype=np.uint8)
            return image
        found = find_faces(self._detector, image, self.align.pad_retry)
        if not len(found):
            return None
        # who is labeled is the largest
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        matrix = similarity(found.kps[int(sides.prod(axis=1).argmax())])
        return None if matrix is None else warp(image, matrix, self.crop_px)


def make_crops(
    job: CropJob, stills: Sequence[Still], workers: int, limits: Limits
) -> Iterator[tuple[int, list[Crop]]]:
    """Yield finished chunks: the place of the first still, and the result of each."""
    chunks = [(start, stills[start : start + CHUNK]) for start in range(0, len(stills), CHUNK)]
    with track(len(stills), "align", "stills") as progress:
        for (start, part), result in run_in_workers(job, chunks, workers, limits):
            failed = not isinstance(result, list)
            yield start, [Crop("", CRASHED)] * len(part) if failed else result
            progress.advance(len(part))


def pixels(crop: Crop) -> np.ndarray:
    """Return a crop that there is: uint8 [S, S, 3]."""
    return square(crop.crop or b"")


def mapped_file(count: int, side: int, folder: Path) -> np.ndarray:
    """Map a file without a name: 300,000 stills of 112 pixels take 11 GB; a killed run leaves
    nothing.

    Returns:
        uint8 [count, side, side, 3], black.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = (max(count, 1), side, side, 3)  # an empty file cannot be mapped
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)[:count]


def _bytes(still: Still) -> bytes | None:
    if still.gray is not None:
        return still.gray
    try:
        return None if still.path is None else still.path.read_bytes()
    except OSError:
        return None


def _image(still: Still, data: bytes) -> Image | None:
    """Decode a still: RGB uint8 [H, W, 3]."""
    if still.gray is not None:
        side = math.isqrt(len(data))
        gray = np.frombuffer(data, np.uint8).reshape(side, side)
        return np.repeat(gray[:, :, None], 3, axis=2)
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)
