"""The decode stage's work: one clip's chosen frames as JPEG."""

from __future__ import annotations

import functools
import importlib.metadata
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa

from pipeline.clips import OK, Clip, resolve_inside
from pipeline.config import DecodeParams
from pipeline.errors import ClipError, UserError
from pipeline.jpeg import encode_jpeg
from pipeline.store import code_version, digest, file_sha256
from pipeline.video.sampling import choose

if TYPE_CHECKING:
    from pipeline.video.survey import Survey

FRAMES_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("jpeg", pa.binary(), nullable=False),
        pa.field("decoder", pa.string(), nullable=False),
    ]
)

# a clip of which less than this decodes is not the clip that was labelled
_LEAST_PART = 0.5
_TICK_S = 1e-6


@dataclass(frozen=True)
class KeptFrame:
    """A chosen frame: `index` counts the video's frames, `time_s` from the first one on."""

    index: int
    time_s: float
    width: int
    height: int
    jpeg: bytes
    decoder: str


@dataclass(frozen=True)
class DecodeClip:
    """Decodes clips below `root`; see `pipeline.engine.ClipWork`."""

    root: Path
    params: DecodeParams

    stage: ClassVar[str] = "decode"
    schema: ClassVar[pa.Schema] = FRAMES_SCHEMA

    def key(self, clip: Clip) -> str:
        """What the pictures depend on: the bytes, the window, the settings, the decoders."""
        return digest(
            clip.sha256,
            clip.start_s,
            clip.end_s,
            self.params,
            decoder_versions(),
            code_version("pipeline.video", "pipeline.jpeg"),
        )

    def facts(self) -> dict[str, Any]:
        return {"decode": self.params.model_dump(mode="json"), "decoders": decoder_versions()}

    def upstream_failure(self, clip: Clip) -> str | None:
        return None if clip.status == OK else clip.reason or "quarantined at ingest"

    def setup(self) -> None:
        """Nothing is kept between clips: an idle decord reader reads ahead without bound."""

    def run(self, clip: Clip) -> pa.Table:
        """The chosen frames, `FRAMES_SCHEMA` without `clip_id`.

        Raises:
            ClipError: the clip cannot be decoded, or less than half of it.
            UserError: the file is gone, or is not the one that was listed.
        """
        path = resolve_inside(self.root, clip.path)
        self._refuse_changed(path, clip)
        kept = keep_frames(path, self.params, clip.start_s, clip.end_s)
        rows = [astuple(frame) for frame in kept]
        schema = FRAMES_SCHEMA.remove(FRAMES_SCHEMA.get_field_index("clip_id"))
        columns = [
            pa.array(list(column), field.type)
            for column, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        return pa.table(columns, schema=schema)

    def _refuse_changed(self, path: Path, clip: Clip) -> None:
        """The result is kept under the hash in the manifest; it must be of those bytes."""
        try:
            found = file_sha256(path)
        except OSError as error:
            raise UserError(
                f"{clip.path} in {self.root} cannot be read ({error.strerror}): "
                "put it back or run `dvc repro` to list the clips anew"
            ) from None
        if found != clip.sha256:
            raise UserError(f"{clip.path} changed since it was listed: run `dvc repro` again")


def keep_frames(
    path: Path,
    params: DecodeParams,
    start_s: float | None = None,
    end_s: float | None = None,
) -> list[KeptFrame]:
    """The frames that `params` choose from [start_s, end_s), in order.

    A picture is shrunk and encoded as soon as it is decoded; no two are held at a time.
    `backend: auto` is decord, and PyAV for the files that decord is known to get wrong or
    gives up on; it depends on the file and the installed versions alone.

    Raises:
        ClipError: unreadable, less than half of it decodes, no frame in the window, or the
            backend that was asked for by name cannot read it.
        UserError: the file is absent or may not be read.
    """
    # imported here: av and decord take 2 s, and a run without new clips needs neither
    from pipeline.video.backends import BACKENDS, Refused
    from pipeline.video.survey import survey

    found = survey(path, end_s)
    indices = _in_window(found, start_s or 0.0, end_s)
    indices = indices[choose(found.times[indices], params)]
    names = ["decord", "pyav"] if params.backend == "auto" else [params.backend]
    for name in names:
        try:
            frames = BACKENDS[name].frames(path, found, indices)
            return [
                _kept(int(index), float(found.times[index]), image, params, name)
                for index, image in zip(indices, frames, strict=True)
            ]
        except Refused as refusal:
            reason = str(refusal)
    raise ClipError(reason)


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """The picture with its longer side at most `max_side`; never enlarged.

    Area interpolation: each new pixel is the mean of those it covers, so nothing aliases.
    """
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, target, interpolation=cv2.INTER_AREA)


def decoder_versions() -> dict[str, str | None]:
    """Versions of what makes the pictures; None for what is not installed."""
    return {name: _version(name) for name in ("decord", "av", "opencv-python")}


@functools.cache
def _version(name: str) -> str | None:
    # not by importing: av and decord take 2 s
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kept(
    index: int, time_s: float, image: np.ndarray, params: DecodeParams, decoder: str
) -> KeptFrame:
    image = shrink(image, params.max_side)
    height, width = image.shape[:2]
    try:
        jpeg = encode_jpeg(image, params.jpeg_quality)
    except ValueError as error:
        raise ClipError(str(error)) from None
    return KeptFrame(index, time_s, width, height, jpeg, decoder)


def _in_window(found: Survey, start_s: float, end_s: float | None) -> np.ndarray:
    """Indices of the frames shown from `start_s` (included) to `end_s` (not)."""
    end = math.inf if end_s is None else end_s
    _refuse_truncated(found, start_s, end)
    inside = (found.times >= start_s - _TICK_S) & (found.times < end - _TICK_S)
    if not inside.any():
        raise ClipError(f"no frame between {start_s:g} s and {end:g} s")
    return np.flatnonzero(inside)


def _refuse_truncated(found: Survey, start_s: float, end_s: float) -> None:
    """Refuse a clip when less than half of what its container promises can be had."""
    end = min(end_s, math.inf if found.declared_s is None else found.declared_s)
    if math.isinf(end):
        if not found.whole:
            raise ClipError("damaged, and its length is unknown")
        return
    promised = end - start_s
    decoded = min(float(found.times[-1]) + found.frame_s, end) - start_s
    if promised > 0 and decoded < _LEAST_PART * promised:
        raise ClipError(f"truncated: {max(decoded, 0.0):.2f} of {promised:.2f} s decoded")
