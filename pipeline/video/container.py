"""Opening video files with PyAV: only real video containers, only the file itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter

from arpgnet.pipeline.common.errors import ClipError, NotAVideoError, UserError
from arpgnet.pipeline.video.boxes import described_sizes
from arpgnet.pipeline.video.display import PixelShape, display_of, pixel_ratio

# FFmpeg also "decodes" text as a terminal's screen, and playlists open other files
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpeg,mpegts,flv,asf,ogg,mxf,nut,ivf,dv,"
    "rm,wtv"
)
# streams that accompany another one
_BESIDE = (
    av.stream.Disposition.still_image
    | av.stream.Disposition.timed_thumbnails
    | av.stream.Disposition.dependent
)
# a stream of fewer images is a still one beside another with more
_MOVING = 2
# a stream of no more pixels than this, and so many times smaller than the largest, is a thumbnail
_THUMBNAIL_PX = 160 * 160
_THUMBNAIL_TIMES = 4
_BLOCK_PX = 16
# files are user data: what FFmpeg thinks of them must not flood the console
av.logging.set_level(av.logging.PANIC)


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its video; not verified, see `survey.survey`.

    `width` and `height` are those of the image that a player shows: upright, with square pixels.
    `rotation` is the angle in degrees, counter-clockwise, that makes the stored image upright
    (0, 90, 180, 270), after left and right were exchanged if it is `mirrored`.
    """

    fps: float | None
    frames: int | None
    duration_s: float | None
    width: int
    height: int
    codec: str
    rotation: int
    mirrored: bool


def probe(path: Path) -> VideoInfo:
    """Read the container's header and one frame.

    Raises:
        ClipError: the file is empty, is not a video, has sound only, or no frame decodes.
        UserError: the file is absent or may not be read.
    """
    with open_video(path) as (container, stream):
        return describe(container, stream, first_frame(decoded(container, stream)))


def describe(container: Any, stream: Any, first: Any) -> VideoInfo:
    """Describe an open file as `probe` does, from its first frame."""
    shown = display_of(first)
    width, height = shown.size
    rate = frame_rate(stream)
    return VideoInfo(
        fps=rate,
        frames=stream.frames or None,
        duration_s=declared_duration(container, stream),
        width=width,
        height=height,
        codec=stream.codec_context.codec.canonical_name,
        rotation=90 * shown.quarters,
        mirrored=shown.mirrored,
    )


def address(path: Path) -> str:
    """Return a path as FFmpeg must get it.

    It takes what stands before a colon for a protocol: a relative `12:30.mp4`, or `concat:a.mp4`.
    """
    return f"file:{path}"


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open the container and its video stream, decoded by one thread.

    Raises:
        ClipError: the file is empty, has sound only, or (`NotAVideoError`) is not a video.
        UserError: the file is absent or may not be read.
    """
    with open_file(path) as container:
        stream = _video_stream(path, container)
        # one thread per clip: the engine runs several clips at once
        stream.codec_context.thread_count = 1
        stream.codec_context.copy_opaque = True
        yield container, stream


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Open the container with all of its streams.

    Raises:
        ClipError: the file is empty or is not a video.
        UserError: the file is absent or may not be read.
    """
    try:
        if not path.stat().st_size:
            raise ClipError("the file is empty")
        container = av.open(
            address(path), options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        )
    except FileNotFoundError:
        raise UserError(f"{path} is gone: run `dvc repro` again to list the clips anew") from None
    except PermissionError:
        raise UserError(f"{path} may not be read: change its permissions") from None
    except (av.FFmpegError, OSError, ValueError):
        raise NotAVideoError("not a video, or its header is damaged") from None
    with container:
        yield container


class Frames:
    """Decodes an open stream's packets to frames that know how they are shown (`display_of`)."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._stated = _is_stated_rightly(stream)
        self._kind: tuple[float, int, int] | None = None
        self._matrix: bytes | None = None

    def of(self, packet: Any) -> list[Any]:
        """Return what a packet makes the decoder yield."""
        shape = PixelShape()
        if packet.size:
            packet.opaque = shape
        try:
            frames: list[Any] = packet.decode()
        finally:
            shape.ratio = pixel_ratio(self._stream, self._stated)
        for frame in frames:
            self._inform(frame, shape)
        return frames

    def rest(self) -> list[Any]:
        """Return what the decoder holds back, and let it begin anew."""
        frames: list[Any] = self._stream.codec_context.decode(None)
        self._stream.codec_context.flush_buffers()
        shape = PixelShape(pixel_ratio(self._stream, self._stated))
        for frame in frames:
            frame.time_base = self._stream.time_base
            self._inform(frame, shape)
        return frames

    def _inform(self, frame: Any, shape: PixelShape) -> None:
        if not isinstance(frame.opaque, PixelShape):
            frame.opaque = shape  # a decoder that does not pass it on
        kind = frame.rotation, frame.width, frame.height
        if kind != self._kind:
            # PyAV's side data and its frame hold each other: read for each frame, they stayed in
            # memory until Python looked for cycles (0.9 GB for 12 s of 1080p)
            found = frame.side_data.get("DISPLAYMATRIX")
            self._kind, self._matrix = kind, None if found is None else bytes(found)
        frame.opaque.matrix = self._matrix


def _is_stated_rightly(stream: Any) -> bool:
    """Check whether the container may be believed in the shape of pixels.

    Without a box for it (`pasp`) FFmpeg takes the size that a track is shown in, over the one that
    its header states for the images, whatever the images' own is.
    """
    container, context = stream.container, stream.codec_context
    if not container.format.name.startswith("mov,") or stream.sample_aspect_ratio in (None, 0, 1):
        return True
    # sizes are stated with or without what fills the last blocks
    return any(
        abs(width - context.width) < _BLOCK_PX and abs(height - context.height) < _BLOCK_PX
        for width, height in described_sizes(_path_of(container))
    )


def _path_of(container: Any) -> Path:
    """Return what `address` was made of."""
    return Path(container.name.removeprefix("file:"))


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield an open stream's frames."""
    frames = Frames(stream)
    for packet in container.demux(stream):
        yield from frames.of(packet)


def frame_rate(stream: Any) -> float | None:
    """Return frames per second as the container declares them."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def declared_duration(container: Any, stream: Any) -> float | None:
    """Return seconds the container declares for the video stream, else for all of the file.

    It may be longer than the frames are: where sound goes on, or the last frame is held.
    """
    rate = frame_rate(stream)
    if container.format.name == "avi" and stream.frames and rate:
        # of a cut AVI the header still knows the frames; the duration is made from what is left
        return float(stream.frames / rate)
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # both of these count from the file's start: a video may begin later than the sound
    end = _clock_seconds(stream.metadata.get("DURATION", ""))  # Matroska
    if not end and container.duration:
        end = container.duration / av.time_base
    return end - _late_s(container, stream) if end else None


def _late_s(container: Any, stream: Any) -> float:
    """Return how much later than the file its video begins, seconds."""
    if stream.start_time is None or container.start_time is None:
        return 0.0
    late = float(stream.start_time * stream.time_base) - container.start_time / av.time_base
    return max(late, 0.0)


class Upright:
    """Makes images of a file's frames; FFmpeg's converter is set up once, not for each.

    640 x 480, 2 cores of an AMD EPYC: 0.3 ms of CPU a frame less than `frame.to_ndarray("rgb24")`;
    without threads of its own 0.10 ms of CPU a frame, with them (FFmpeg's choice) 0.15 for the same
    bytes, and 1.1 ms of waiting where other workers keep the cores busy.
    """

    def __init__(self) -> None:
        self._converter = VideoReformatter()

    def image(self, frame: Any) -> np.ndarray:
        """Convert to the uint8 RGB [H,W,3] that a player shows."""
        image: np.ndarray = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return display_of(frame).image(image)


def shown_stream(container: Any, packets: Mapping[int, int] | None = None) -> Any:
    """Return the video stream that a player shows; None where there is none.

    FFmpeg's order: the stream that is marked as default, then the largest image, then the first.
    But a still image (a cover, a poster) and a thumbnail are not what is shown, whatever they are
    marked as: muxers mark the first stream where nobody chose.

    Args:
        packets: by stream index, how many there are, counted up to `_MOVING`; None: unknown.
    """
    known = [one for one in _films(container) if one.codec_context is not None]
    if not known:
        return None
    moving = [one for one in known if not one.disposition & _BESIDE]
    if packets is not None:
        moving = [one for one in moving if packets[one.index] >= _MOVING]
    known = moving or known
    largest = max(_area(one) for one in known)
    default = av.stream.Disposition.default

    def preference(stream: Any) -> tuple[bool, int]:
        area = _area(stream)
        thumbnail = area <= _THUMBNAIL_PX and area * _THUMBNAIL_TIMES < largest
        return bool(stream.disposition & default) and not thumbnail, area

    # of equal ones the first
    return max(known, key=preference)


def _films(container: Any) -> list[Any]:
    """Return the video streams but the cover of a song, which is one of a single image."""
    cover = av.stream.Disposition.attached_pic
    return [one for one in container.streams.video if not one.disposition & cover]


def _area(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def _video_stream(path: Path, container: Any) -> Any:
    several = len(_films(container)) > 1
    stream = shown_stream(container, _count_packets(path) if several else None)
    if stream is not None:
        return stream
    if _films(container):
        raise ClipError("its codec is unknown")
    raise ClipError("no video in the file, sound only" if container.streams.audio else "no video")


def _count_packets(path: Path) -> Counter[int]:
    """Count the packets of each video stream until all have `_MOVING`: most files' first second."""
    counts: Counter[int] = Counter()
    with open_file(path) as container:
        films = _films(container)
        waiting = {one.index for one in films}
        try:
            for packet in container.demux(films):
                counts[packet.stream.index] += bool(packet.size)
                if counts[packet.stream.index] >= _MOVING:
                    waiting.discard(packet.stream.index)
                if not waiting:
                    break
        except (av.FFmpegError, OSError):
            pass  # as far as it goes
    return counts


def first_frame(frames: Iterator[Any]) -> Any:
    """Return the first frame that a decoder yields.

    Raises:
        ClipError: none does.
    """
    try:
        for frame in frames:
            return frame
    except (av.FFmpegError, OSError):
        pass
    raise ClipError("no frame can be decoded")


def _clock_seconds(text: str) -> float | None:
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
