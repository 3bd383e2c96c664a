"""`arpgnet predict`: videos in, tables out; a bad video is a line, and the others go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.datasets.layout import videos_below
from arpgnet.pipeline.predict.camera import is_live
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.output import SUFFIX
from arpgnet.pipeline.predict.overlay.overlay import SUFFIX as OVERLAY
from arpgnet.pipeline.predict.overlay.overlay import overlay_path
from arpgnet.pipeline.predict.page.page import FILM, film_path, page_path
from arpgnet.pipeline.predict.predictor import Options, Predictor


def predict(
    model: Model,
    given: Sequence[Path],
    options: Options,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> bool:
    """A table for each video; whether all went well. A bad video is a line, and the others go on.

    Raises:
        UserError: there is nothing to predict, or a table cannot be written.
        KeyboardInterrupt: Ctrl-C; the tables are closed and whoever warns has been told.
    """
    videos = [given[0]] if _is_camera(given, options) else list_videos(given)
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
        dropped = f", {done.dropped} more came too fast and were dropped" if done.dropped else ""
        say(f"{done.path}: {done.frames} frames, {done.faces} faces{dropped}")
        if done.stopped:
            raise KeyboardInterrupt
    return good


def _is_camera(given: Sequence[Path], options: Options) -> bool:
    """Whether a source is given that does not wait.

    Raises:
        UserError: together with what does not go with it.
    """
    if not any(is_live(one) for one in given):
        if options.seconds is not None:
            raise UserError("--seconds is of a camera or a pipe: leave it out")
        return False
    if len(given) > 1:
        raise UserError("a camera or a pipe is watched alone: leave the other videos out")
    if options.overlay or options.page:
        raise UserError("--overlay and --page need a file: record the camera, then predict that")
    if options.faces == "main":
        raise UserError("--faces main needs a file: of a camera every face is predicted")
    return True


def list_videos(given: Sequence[Path]) -> list[Path]:
    """The files, and the videos below the folders.

    Raises:
        UserError: a path is absent, or a folder holds no video.
    """
    videos: list[Path] = []
    for path in given:
        if not path.exists():
            raise UserError(f"{path} is not there: give a video, or a folder of videos")
        below = _videos_of(path) if path.is_dir() else [path]
        if not below:
            raise UserError(f"{path} holds no video: give a video, or a folder of videos")
        videos += below
    return list(dict.fromkeys(videos))


def _videos_of(folder: Path) -> list[Path]:
    """Without what an earlier run wrote."""
    return [path for path in videos_below(folder) if not path.name.endswith((OVERLAY, FILM))]


def _check_overwriting(videos: Sequence[Path], tables: Sequence[Path], options: Options) -> None:
    given = {video.resolve() for video in videos}
    made = [overlay_path(table) for table in tables] if options.overlay else []
    made += [film_path(page_path(table)) for table in tables] if options.page else []
    for path in made:
        if path.resolve() in given:
            raise UserError(f"{path} is to be read and would be overwritten: give another --out")


def targets(videos: Sequence[Path], options: Options) -> list[Path]:
    """A table's path for each video; of equal names the later ones get a number."""
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
    """Why a video has no table, in one line; what is an image is called so."""
    text = str(error)
    if "not a video" in text and cv2.haveImageReader(str(video)):
        return "an image, not a video"
    return text
