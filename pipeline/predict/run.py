"""`arpgnet predict`: videos in, tables out; a bad video is reported, and the others continue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.layout import videos_below
from arpgnet.pipeline.predict.camera import is_live
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.output import SUFFIX
from arpgnet.pipeline.predict.overlay.overlay import SUFFIX as OVERLAY
from arpgnet.pipeline.predict.overlay.overlay import overlay_path
from arpgnet.pipeline.predict.page.page import FILM, film_path, page_path
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor


def predict(
    model: Model,
    sources: Sequence[Path],
    options: PredictOptions,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> bool:
    """Write a table per video; return whether all succeeded.

    A bad video is reported, and the others continue.

    Raises:
        UserError: there is nothing to predict, or a table cannot be written.
        KeyboardInterrupt: Ctrl-C; the tables are closed and the warning is given.
    """
    videos = [sources[0]] if _is_camera(sources, options) else list_videos(sources)
    wanted = targets(videos, options)
    _check_overwriting(videos, wanted, options)
    predictor = Predictor(model, options)
    good = True
    for video, target in zip(videos, wanted, strict=True):
        try:
            live = is_live(video)
            done = predictor.watch_live(video, target) if live else predictor.predict(video, target)
        except (ClipError, UserError) as error:
            good = False
            warn(f"{video}: {reason(video, error)}")
            continue
        if done.warning:
            good = False
            warn(f"{video}: {done.warning}")
        dropped = f", {plural(done.dropped, 'frame')} dropped (too fast)" if done.dropped else ""
        say(f"{done.path}: {plural(done.frames, 'frame')}, {plural(done.faces, 'face')}{dropped}")
        if done.stopped:
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
        if not path.exists():
            raise UserError(f"{path} does not exist: name a video, or a folder of videos")
        below = _videos_of(path) if path.is_dir() else [path]
        if not below:
            raise UserError(f"{path} contains no video: name a video, or a folder of videos")
        videos += below
    return list(dict.fromkeys(videos))


def _videos_of(folder: Path) -> list[Path]:
    """List the videos of a folder and of linked folders in it, without those of an earlier run."""
    found = videos_below(folder, follow_links=True)
    return [path for path in found if not path.name.endswith((OVERLAY, FILM))]


def _check_overwriting(
    videos: Sequence[Path], tables: Sequence[Path], options: PredictOptions
) -> None:
    sources = {video.resolve() for video in videos}
    made = [overlay_path(table) for table in tables] if options.overlay else []
    made += [film_path(page_path(table)) for table in tables] if options.page else []
    for path in made:
        if path.resolve() in sources:
            raise UserError(f"{path} is an input and would be overwritten: choose another --out")


def targets(videos: Sequence[Path], options: PredictOptions) -> list[Path]:
    """Choose a table's path for each video; of equal names, the later ones get a number."""
    counts: Counter[str] = Counter()
    found = []
    for video in videos:
        # camera:0 would be a drive or a stream elsewhere
        stem = video.stem.replace(":", "-")
        counts[stem] += 1
        number = f"-{counts[stem]}" if counts[stem] > 1 else ""
        found.append(options.out / f"{stem}{number}{SUFFIX[options.form]}")
    return found


def reason(video: Path, error: Exception) -> str:
    """Say in one line why a video has no table."""
    text = str(error)
    # a pipe would be waited for
    if "not a video" in text and video.is_file() and cv2.haveImageReader(str(video)):
        return "an image, not a video"
    return text
