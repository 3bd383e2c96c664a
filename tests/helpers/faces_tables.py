"""data/frames and data/faces written by hand: what the stages after align read."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from arpgnet.pipeline.align.clip import FACES_SCHEMA
from arpgnet.pipeline.decode.clip import FRAMES_SCHEMA
from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX, apply, context, warp
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import fixed
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg
from helpers.outputs import OutputWriter

WIDTH, HEIGHT = 320, 240
MATRIX = np.array([[0.8, 0.1, -60.0], [-0.1, 0.8, -20.0]], np.float32)
BOX = np.array([80.0, 60.0, 180.0, 190.0], np.float32)
# where the crop has the template's points
KPS = apply(cv2.invertAffineTransform(MATRIX), ARCFACE_TEMPLATE).astype(np.float32)


def make_image(seed: int) -> np.ndarray:
    """A smooth random RGB frame."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def write_tables(root: Path, valid: dict[str, list[bool]], side: int = CROP_PX) -> list[Clip]:
    """Writes `root/frames` and `root/faces` for clips with the given rows; returns the clips.

    A clip with no rows is quarantined in both.

    Args:
        side: of the crops.
    """
    with (
        OutputWriter(root / "frames", FRAMES_SCHEMA, {}) as frames,
        OutputWriter(root / "faces", FACES_SCHEMA, {"crop_px": side}) as faces,
    ):
        for number, (clip_id, rows) in enumerate(valid.items()):
            key = f"{number:064x}"
            if not rows:
                frames.add_quarantined(clip_id, key, "cannot be decoded")
                faces.add_quarantined(clip_id, "", "cannot be decoded")
                continue
            frames.add(clip_id, key, [_frames(clip_id, number, len(rows))])
            faces.add(clip_id, key, [_faces(clip_id, number, np.array(rows), side)])
    return [Clip(clip_id, f"{clip_id}.mp4", "0" * 64) for clip_id in valid]


def stored_image(number: int, row: int) -> np.ndarray:
    """The frame as JPEG gives it back, RGB."""
    return cv2.imdecode(np.frombuffer(_jpeg(number, row), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def crop(number: int, row: int, side: int = CROP_PX) -> np.ndarray:
    """The aligned crop of a row, uint8 [side, side, 3]."""
    return warp(make_image(100 * number + row), MATRIX, side)


def stored_context(number: int, row: int) -> np.ndarray:
    """The context of a row as JPEG gives it back, uint8 [192, 192, 3]."""
    return decode_jpeg(_context(number, row))


def _context(number: int, row: int) -> bytes:
    return encode_jpeg(context(stored_image(number, row), BOX), 95)


def _jpeg(number: int, row: int) -> bytes:
    bgr = np.ascontiguousarray(make_image(100 * number + row)[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _frames(clip_id: str, number: int, count: int) -> pa.Table:
    columns = {
        "clip_id": [clip_id] * count,
        "frame_index": np.arange(count, dtype=np.int32) * 3,
        "time_s": np.arange(count) / 10,
        "width": np.full(count, WIDTH, np.int32),
        "height": np.full(count, HEIGHT, np.int32),
        "jpeg": [_jpeg(number, row) for row in range(count)],
        "decoder": ["test"] * count,
        "points": [None] * count,
    }
    return pa.table(columns, schema=FRAMES_SCHEMA)


def _faces(clip_id: str, number: int, valid: np.ndarray, side: int) -> pa.Table:
    count = len(valid)
    kept = valid[:, None].astype(np.float32)
    columns = {
        "clip_id": [clip_id] * count,
        "frame_index": np.arange(count, dtype=np.int32) * 3,
        "time_s": np.arange(count) / 10,
        "valid": valid,
        "track_id": np.where(valid, 0, -1).astype(np.int32),
        "det_score": valid.astype(np.float32),
        "bbox": fixed(BOX * kept),
        "kps": fixed(KPS.ravel() * kept),
        "matrix": fixed(MATRIX.ravel() * kept),
        "crop": [crop(number, row, side).tobytes() if ok else b"" for row, ok in enumerate(valid)],
        "context": [_context(number, row) if ok else b"" for row, ok in enumerate(valid)],
    }
    return pa.table(columns, schema=FACES_SCHEMA)
