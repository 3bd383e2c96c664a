"""`arpgnet predict`: videos in, tables out; a bad video is reported, and the others continue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from arpgnet.pipeline.common.errors import ClipError, NotAVideoError, UserError
from arpgnet.pipeline.common.wording import plural, shown
from arpgnet.pipeline.datasets.layout import videos_below
from arpgnet.pipeline.predict.camera import is_live
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.names import SUMMARY, added_files, targets
from arpgnet.pipeline.predict.overlay.overlay import SUFFIX as OVERLAY
from arpgnet.pipeline.predict.page.page import FILM
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from arpgnet.pipeline.predict.summary import summary_table, write_summary
from arpgnet.pipeline.video.image_folder import decode_image

# a larger file than this is not read to see whether it is an image
MOST_IMAGE_BYTES = 64 * 2**20


def predict(
    model: Model,
    sources: Sequence[Path],
    options: PredictOptions,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    remark: Callable[[str], None],
    show: Callable[[RichTable], None],
) -> bool:
    """Write a table per video, and of several a summary; return whether all succeeded.

    A bad video is reported, and the others continue. `warn` is told of errors, `remark` of faces
    that are unlike the training clips.

    Raises:
        UserError: there is nothing to predict, or a table cannot be written.
        KeyboardInterrupt: Ctrl-C; the tables are closed and the warning is given.
    """
    videos = [sources[0]] if _is_camera(sources, options) else list_videos(sources)
    wanted = targets(videos, options)
    predictor = Predictor(model, options)
    for display in model.displays:
        if display.scale:
            say(display.scale)
    good, stopped, count = True, False, 0
    summary: list[Mapping[str, Any]] = []
    for video, target in zip(videos, wanted, strict=True):
        try:
            live = is_live(video)
            done = predictor.watch_live(video, target) if live else predictor.predict(video, target)
        except (ClipError, UserError, OSError) as error:
            good = False
            warn(f"{shown(video)}: {reason(video, error)}")
            continue
        count += 1
        summary += [{**row, "video": shown(video)} for row in done.summary]
        if done.warning:
            good = False
            warn(f"{shown(video)}: {done.warning}")
        dropped = f", {plural(done.dropped, 'frame')} dropped (too fast)" if done.dropped else ""
        found = f"{plural(done.frames, 'frame')}, {plural(done.faces, 'face')}"
        # a table whose name is not the video's does not say whose it is
        named = live or done.path.name.startswith(f"{video.stem}.")
        if done.path.exists():
            say(f"{shown(done.path)}: {found}{'' if named else f' of {shown(video)}'}{dropped}")
        for path, what in added_files(done.path, options):
            say(f"{shown(path)}: {what}")
        if done.likeness.warning:
            remark(f"{shown(video)}: {done.likeness.warning}")
        stopped = done.stopped
        if stopped:
            break
    if count > 1:
        try:
            write_summary(options.out / SUMMARY, model.displays, summary)
        except UserError as error:
            good = False
            warn(str(error))
        show(summary_table(model.displays, summary))
        say(f"{shown(options.out / SUMMARY)}: {plural(len(summary), 'face')}")
    if stopped:
        raise KeyboardInterrupt
    return good


def _is_camera(sources: Sequence[Path], options: PredictOptions) -> bool:
    """Tell whether the source is live.

    Raises:
        UserError: it is combined with options that it does not support.
    """
    if not any(is_live(one) for one in sources):
        if options.seconds is not None:
            raise UserError("--seconds is only for a camera or a pipe: leave it out")
        return False
    if len(sources) > 1:
        raise UserError("a camera or a pipe must be the only source: leave out the others")
    if options.overlay or options.page:
        raise UserError("--overlay and --page need a file: record the camera, then predict that")
    if options.faces == "main":
        raise UserError("--faces main needs a file: for a camera, every face is predicted")
    return True


def list_videos(sources: Sequence[Path]) -> list[Path]:
    """List the files, and the videos below the folders.

    Raises:
        UserError: a path is absent, or a folder contains no video.
    """
    videos: list[Path] = []
    for path in sources:
        try:
            path.stat()
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: name a video, or a folder of videos") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        below = _videos_of(path) if path.is_dir() else [path]
        if not below:
            raise UserError(f"{path} contains no video: name a video, or a folder of videos")
        videos += below
    return list(dict.fromkeys(videos))


def _videos_of(folder: Path) -> list[Path]:
    """List the videos of a folder and of linked folders in it, without those of an earlier run."""
    found = videos_below(folder, follow_links=True)
    return [path for path in found if not path.name.endswith((OVERLAY, FILM))]


def reason(video: Path, error: Exception) -> str:
    """Say in one line why a video has no table."""
    if isinstance(error, NotAVideoError) and _is_image(video):
        return "an image, not a video"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _is_image(path: Path) -> bool:
    try:
        # OpenCV looks at the bytes: it crashes at a name that is not UTF-8; a pipe would be waited
        # for
        small = path.is_file() and path.stat().st_size <= MOST_IMAGE_BYTES
        return small and decode_image(path.read_bytes()) is not None
    except OSError:
        return False
