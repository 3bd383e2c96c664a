"""The decode stage's work: one clip's chosen frames as JPEG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.image_folder import sample_images
from arpgnet.pipeline.runner.spool import Spool
from arpgnet.pipeline.runner.work import ClipWorkBase
from arpgnet.pipeline.store import digest, file_sha256, library_version
from arpgnet.pipeline.tables.manifest import OK, Clip, resolve_inside
from arpgnet.pipeline.tables.shards import PIECE_ROWS, without_clip_id
from arpgnet.pipeline.video.frames import SampledFrame, encode_jpeg, shrink
from arpgnet.pipeline.video.image_folder import folder_sha256
from arpgnet.pipeline.video.sampling import choose, inside

if TYPE_CHECKING:
    from arpgnet.pipeline.video.survey import Survey

FRAMES_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("jpeg", pa.binary(), nullable=False),
        pa.field("decoder", pa.string(), nullable=False),
        pa.field("points", pa.list_(pa.float32())),
    ]
)

# a clip of which less than this decodes is not the clip that was labeled
_LEAST_PART = 0.5


@dataclass(frozen=True)
class DecodeClip(ClipWorkBase):
    """Decodes clips below the root of their corpus; see `pipeline.runner.work.ClipWork`."""

    roots: Mapping[str, Path]
    params: DecodeParams
    follow_links: bool = False

    stage: ClassVar[str] = "decode"
    schema: ClassVar[pa.Schema] = FRAMES_SCHEMA

    def inputs(self, clip: Clip) -> list[Any]:
        """Return the bytes, the window and the settings."""
        numbers = [clip.first_image, clip.fps, clip.landmarks] if clip.image_sequence else []
        return [*numbers, clip.sha256, clip.start_s, clip.end_s, self.params]

    def metadata(self) -> dict[str, Any]:
        return {"decode": self.params.model_dump(mode="json"), "decoders": decoder_versions()}

    def upstream_failure(self, clip: Clip) -> str | None:
        return None if clip.status == OK else clip.reason or "quarantined at ingest"

    def setup(self) -> None:
        """Do nothing: between clips, an idle decord reader would read ahead without bound."""

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        """Yield the chosen frames, `FRAMES_SCHEMA` without `clip_id`.

        Raises:
            ClipError: the clip cannot be decoded, or less than half of it.
            UserError: the file is gone, or is not the one that was listed.
        """
        root = self.roots[clip.corpus]
        path = resolve_inside(root, clip.path, self.follow_links)
        if clip.image_sequence:
            points = (
                resolve_inside(root, clip.landmarks, self.follow_links) if clip.landmarks else None
            )
            self._refuse_changed(clip, folder_sha256, path, points)
            frames = sample_images(path, clip, points, self.params)
        else:
            self._refuse_changed(clip, file_sha256, path)
            frames = sample_frames(path, self.params, clip.start_s, clip.end_s)
        while piece := list(itertools.islice(frames, PIECE_ROWS)):
            yield _table(piece)

    def _refuse_changed(
        self, clip: Clip, sha256: Callable[[Path], str], *paths: Path | None
    ) -> None:
        """Refuse a file whose bytes are not those of the manifest's hash."""
        try:
            found = [sha256(path) for path in paths if path]
        except OSError as error:
            raise UserError(
                f"{clip.path} in {self.roots[clip.corpus]} cannot be read ({error.strerror}): "
                "put it back or run `dvc repro` to list the clips anew"
            ) from None
        if (digest(*found) if clip.image_sequence else found[0]) != clip.sha256:
            raise UserError(f"{clip.path} changed since it was listed: run `dvc repro` again")


def _table(frames: Sequence[SampledFrame]) -> pa.Table:
    schema = without_clip_id(FRAMES_SCHEMA)
    # vars, not astuple: that one copies every JPEG
    rows = zip(*(vars(frame).values() for frame in frames), strict=True)
    columns = [
        pa.array(list(column), field.type) for column, field in zip(rows, schema, strict=True)
    ]
    return pa.table(columns, schema=schema)


def sample_frames(
    path: Path,
    params: DecodeParams,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Iterator[SampledFrame]:
    """Yield the frames that `params` choose from [start_s, end_s), in order.

    An image is shrunk and encoded as soon as it is decoded; no two are in memory at a time, and of
    a long clip the JPEGs wait in a temporary file. Nothing comes before the whole clip has been
    looked at.

    `backend: auto` is PyAV: the pass that finds out which frames are sound makes the images
    too. decord notices no damage, so that it costs a pass of its own behind the survey.

    Raises:
        ClipError: unreadable, less than half of it decodes, no frame in the window, or the
            backend that was asked for by name cannot read it.
        UserError: the file is absent or may not be read.
    """
    # imported here: av takes 0.4 s, and a run without new clips needs none of it
    from arpgnet.pipeline.decode.backends import BACKENDS, Refused
    from arpgnet.pipeline.video.survey import survey

    start = start_s or 0.0
    decoder = "decord" if params.backend == "decord" else "pyav"
    with Spool() as spool:
        taken = _Taken(params, spool)
        watch = _taking(taken, path, params, start, end_s) if decoder == "pyav" else None
        found = survey(path, end_s, watch)
        indices = _in_window(found, start, end_s)
        indices = indices[choose(found.times[indices], params)]
        # all for decord; none for PyAV, unless the forecast was wrong
        missing = np.array([index for index in indices.tolist() if index not in taken])
        try:
            images = BACKENDS[decoder].frames(path, found, missing) if len(missing) else ()
            for index, image in zip(missing.tolist(), images, strict=True):
                taken.add(index, image)
        except Refused as refusal:
            raise ClipError(str(refusal)) from None
        for index in indices.tolist():
            yield taken.frame(index, float(found.times[index]), decoder)


def _taking(
    taken: _Taken, path: Path, params: DecodeParams, start_s: float, end_s: float | None
) -> Callable[[int, Any], None]:
    """Return a watch for `survey` that takes the frames expected to be chosen."""
    from arpgnet.pipeline.video.container import Upright
    from arpgnet.pipeline.video.forecast import forecast_times

    times = forecast_times(path)
    wanted: set[int] = set()
    if times is not None:
        shown = inside(times, start_s, math.inf if end_s is None else end_s)
        if len(shown):
            wanted = set(shown[choose(times[shown], params)].tolist())
    upright = Upright()

    def watch(index: int, frame: Any) -> None:
        if index in wanted:
            taken.add(index, upright.image(frame))

    return watch


class _Taken:
    """Images that were taken so far, by frame number: shrunk, as JPEG, in the spool."""

    def __init__(self, params: DecodeParams, spool: Spool) -> None:
        self._params = params
        self._spool = spool
        self._where: dict[int, tuple[int, int, int]] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._where

    def add(self, index: int, image: np.ndarray) -> None:
        image = shrink(image, self._params.max_side)
        height, width = image.shape[:2]
        try:
            jpeg = encode_jpeg(image, self._params.jpeg_quality)
        except ValueError as error:
            raise ClipError(str(error)) from None
        self._where[index] = self._spool.append(jpeg), width, height

    def frame(self, index: int, time_s: float, decoder: str) -> SampledFrame:
        place, width, height = self._where[index]
        return SampledFrame(index, time_s, width, height, self._spool.read(place), decoder)


def decoder_versions() -> dict[str, str | None]:
    """Return the versions of what makes the images; None for what is not installed."""
    return {name: library_version(name) for name in ("decord", "av", "cv2")}


def _in_window(found: Survey, start_s: float, end_s: float | None) -> np.ndarray:
    """Return indices of the frames shown from `start_s` (included) to `end_s` (not)."""
    end = math.inf if end_s is None else end_s
    _refuse_truncated(found, start_s, end)
    shown = inside(found.times, start_s, end)
    if not len(shown):
        raise ClipError(f"no frame between {start_s:g} s and {end:g} s")
    return shown


def _refuse_truncated(found: Survey, start_s: float, end_s: float) -> None:
    """Refuse a damaged clip when less than half of what its container promises can be had."""
    if found.whole:
        return
    end = min(end_s, math.inf if found.declared_s is None else found.declared_s)
    if math.isinf(end):
        raise ClipError("damaged, and its length is unknown")
    promised = end - start_s
    decoded = min(float(found.times[-1]) + found.frame_s, end) - start_s
    if promised > 0 and decoded < _LEAST_PART * promised:
        raise ClipError(f"truncated: {max(decoded, 0.0):.2f} of {promised:.2f} s decoded")
