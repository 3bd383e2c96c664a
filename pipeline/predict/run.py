"""`arpgnet predict`: videos in, tables out; a bad video is a line, and the others go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline.datasets.layout import videos_below
from pipeline.errors import ClipError, UserError
from pipeline.faces.align_clip import open_detector
from pipeline.predict.features import Networks
from pipeline.predict.model import Model
from pipeline.predict.output import (
    SUFFIX,
    WITH_LANDMARKS,
    Format,
    Head,
    Table,
    Together,
    open_table,
)
from pipeline.predict.overlay.overlay import SUFFIX as OVERLAY
from pipeline.predict.overlay.overlay import Overlay, overlay_path
from pipeline.predict.page.page import FILM, Page, film_path, page_path
from pipeline.predict.video import VideoPass, Which
from pipeline.predict.windows import (
    Layout,
    clip_layout,
    frame_layout,
)
from pipeline.progress import Watch, track
from pipeline.video.stream import Plan, Unexpected, plan, survey_plan

# a video that is this much longer than a training clip is still shown as one
WHOLE = 1.5


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        form: of the table.
        out: the folder of the tables.
        faces: every face, or in each window the one that training would have chosen.
        landmarks: of every face in every frame too.
        window_s: a video that is no longer is classified as one; None: 1.5 times the median of the
            training clips.
        overlay: the video with the rows drawn on it too, beside the table.
        page: an HTML page to look at both, beside the table too.
        longest_s: a longer video is refused.
    """

    form: Format = "csv"
    out: Path = Path("predictions")
    faces: Which = "all"
    landmarks: bool = False
    window_s: float | None = None
    overlay: bool = False
    page: bool = False
    longest_s: float | None = None


@dataclass(frozen=True)
class Done:
    """A finished table: its rows, and what is wrong with it in a line, if anything."""

    path: Path
    frames: int
    faces: int
    complete: bool
    warning: str | None = None


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
    """
    videos = list_videos(given)
    wanted = targets(videos, options)
    _check_overwriting(videos, wanted, options)
    predictor = Predictor(model, options)
    good = True
    for video, target in zip(videos, wanted, strict=True):
        try:
            done = predictor.predict(video, target)
        except (ClipError, UserError) as error:
            good = False
            warn(f"{video}: {reason(video, error)}")
            continue
        if done.warning:
            good = False
            warn(f"{video}: {done.warning}")
        say(f"{done.path}: {done.frames} frames, {done.faces} faces")
    return good


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
        counts[video.stem] += 1
        number = f"-{counts[video.stem]}" if counts[video.stem] > 1 else ""
        found.append(options.out / f"{video.stem}{number}{SUFFIX[options.form]}")
    return found


class Predictor:
    """The networks, opened once for all videos; `options` may be changed between two of them."""

    def __init__(self, model: Model, options: Options) -> None:
        self.model, self.options = model, options
        self.networks = Networks(model)
        self.detector = open_detector(model.pack, model.params.align, model.params.faces.device)

    def predict(
        self, video: Path, target: Path, *, name: str | None = None, watch: Watch | None = None
    ) -> Done:
        """Write the table of one video.

        Args:
            name: what the video is called in the table and on the page; None: as its file.
            watch: is told of every finished frame, and nothing is said then on standard error.

        Raises:
            ClipError: nothing of it can be read, or it is too long.
            UserError: the file is absent, or the table cannot be written.
        """
        name, longest_s = name or video.name, self.options.longest_s
        try:
            return self._predict(video, target, plan(video, longest_s), name, watch)
        except Unexpected:
            # damage, or frames that the packets do not tell of: what counts is what decodes
            return self._predict(video, target, survey_plan(video, longest_s), name, watch)

    def layout(self, expected: Plan) -> Layout:
        """Which frames are classified together.

        Raises:
            UserError: nobody knows how long a training clip is.
        """
        decode = self.model.params.decode
        if self.model.of_frames:
            views = self.model.views
            return frame_layout(expected.times, decode, window=views.window, stride=views.stride)
        clip_s, window_s = self.model.clip_s, self.options.window_s
        if clip_s is None and window_s is None:
            raise UserError("the length of the training clips is unknown: give --window SECONDS")
        if window_s is None:
            assert clip_s is not None
            window_s = WHOLE * clip_s
        length = window_s if clip_s is None else min(clip_s, window_s)
        return clip_layout(
            expected.times, expected.frame_s, decode, window_s=window_s, clip_s=length
        )

    def _predict(
        self, video: Path, target: Path, expected: Plan, name: str, watch: Watch | None
    ) -> Done:
        points = self.options.landmarks or self.options.form in WITH_LANDMARKS
        head = Head(
            name,
            self.model.classes,
            self.networks.landmarks.scheme.points if points else 0,
        )
        layout = self.layout(expected)
        count = len(expected.times)
        table: Table = open_table(target, self.options.form, head)
        complete = False
        try:
            if self.options.overlay:
                table = Together([table, Overlay(overlay_path(target), video, expected, head)])
            if self.options.page:
                table = Together([table, self._page(target, video, expected, head)])
            with track(count, name, quiet=watch is not None, watch=watch) as progress:
                one = VideoPass(
                    self.networks,
                    self.detector,
                    video,
                    expected,
                    layout,
                    which=self.options.faces,
                    points=points,
                    regions=self.options.overlay or self.options.page,
                )
                for row in one.rows(progress):
                    table.add(row)
                complete = expected.whole
        finally:
            table.close(complete)
        warning = None
        if not complete:
            warning = f"damaged behind frame {count}: the table ends there (complete=false)"
        if not one.faces:
            warning = f"no face found in any of {count} frames"
        return Done(target, count, one.faces, complete, warning)

    def _page(self, target: Path, video: Path, expected: Plan, head: Head) -> Page:
        names = self.model.info["features"]["names"] if self.networks.attends else []
        name = self.model.name
        return Page(page_path(target), video, expected, head, regions=names, model=name)


def reason(video: Path, error: Exception) -> str:
    """Why a video has no table, in one line; what is a picture is called so."""
    text = str(error)
    if "not a video" in text and cv2.haveImageReader(str(video)):
        return "a picture, not a video"
    return text
