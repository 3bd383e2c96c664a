"""Predict one video, or a camera's frames, and write the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.progress import Watch, track
from arpgnet.pipeline.common.stopping import ctrl_c
from arpgnet.pipeline.common.wording import plural, shown
from arpgnet.pipeline.networks.detector import Detector, open_detector
from arpgnet.pipeline.predict.blur import THRESHOLD, FaceBlur
from arpgnet.pipeline.predict.camera import LiveFrames
from arpgnet.pipeline.predict.features import Networks
from arpgnet.pipeline.predict.formats import WITH_LANDMARKS, Format, formats_of
from arpgnet.pipeline.predict.likeness import Likeness
from arpgnet.pipeline.predict.live import LivePass, schedule_of
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.output import Tee, closed_after_a_fault, open_table
from arpgnet.pipeline.predict.overlay.overlay import Overlay, overlay_path
from arpgnet.pipeline.predict.page.page import Page, page_path
from arpgnet.pipeline.predict.rows import TableHeader
from arpgnet.pipeline.predict.summary import FaceSummary
from arpgnet.pipeline.predict.video import VideoPass, Which
from arpgnet.pipeline.predict.windows import STRIDE_S, Layout, clip_layout, frame_layout
from arpgnet.pipeline.report.face_parts import region_names
from arpgnet.pipeline.tables.facs import SCALES
from arpgnet.pipeline.video.images import plan_of_images, show_images
from arpgnet.pipeline.video.stream import Plan, Shown, Unexpected, plan, stream, survey_plan

# a video that is this much longer than a training clip is still shown as one
WHOLE = 1.5


@dataclass(frozen=True)
class PredictOptions:
    """The user's options.

    Attributes:
        form: format of the table.
        out: folder for the tables.
        faces: every face, or in each window the one that training would have chosen.
        landmarks: whether to add the landmarks of every face in every frame.
        window_s: a video that is no longer than this is classified as a whole; None: 1.5 times the
            median duration of the training clips.
        stride_s: the longest step from one window of a longer video to the next.
        overlay: whether to write the video with the results drawn on it, beside the table.
        page: whether to write an HTML page with both, beside the table.
        seconds: for a camera, when to stop.
        longest_s: a longer video is refused.
        blur_faces: whether nobody may be recognized in the overlay and on the page.
        attention: whether the overlay colors faces by what the network attends to.
    """

    form: Format = "csv"
    out: Path = Path("predictions")
    faces: Which = "all"
    landmarks: bool = False
    window_s: float | None = None
    overlay: bool = False
    page: bool = False
    seconds: float | None = None
    longest_s: float | None = None
    stride_s: float = STRIDE_S
    blur_faces: bool = False
    attention: bool = True


@dataclass(frozen=True)
class Done:
    """A finished table: its counts, a one-line warning if something is wrong with it, whether
    Ctrl-C stopped it early, how many frames of a camera were dropped, the rows of a file's
    `FaceSummary`, and how unlike the training clips its faces are."""

    path: Path
    frames: int
    faces: int
    complete: bool
    warning: str | None = None
    stopped: bool = False
    dropped: int = 0
    summary: Sequence[Mapping[str, Any]] = ()
    likeness: Likeness = field(default_factory=lambda: Likeness(None))


def _check_options(model: Model, options: PredictOptions) -> None:
    """Refuse intervals of what is there or not, if there is no such thing."""
    forms = formats_of(one.kind for one in model.displays)
    if options.form not in forms:
        raise UserError(
            f"--format intervals lists when something is present; {model.name} predicts "
            f"{SCALES[model.kind][0]}, which always have a value: use {', '.join(forms)}"
        )


class Predictor:
    """The networks, loaded once for all videos; `options` may change between two videos."""

    def __init__(self, model: Model, options: PredictOptions) -> None:
        self.model, self.options = model, options
        # `predict` checks again: options may change
        _check_options(model, options)
        self.networks = Networks(model)
        self.detector = open_detector(model.pack, model.params.align, model.params.faces.device)

    def predict(
        self, video: Path, target: Path, *, name: str | None = None, watch: Watch | None = None
    ) -> Done:
        """Write the table of one video.

        Args:
            name: what the video is called in the table and on the page; None: as its file.
            watch: called for every finished frame; then nothing is written to standard error.

        Raises:
            ClipError: it cannot be read at all, or it is too long.
            UserError: the file is absent, or the table cannot be written.
        """
        _check_options(self.model, self.options)
        name, longest_s = shown(name or video.name), self.options.longest_s
        try:
            return self._predict(video, target, plan(video, longest_s), name, watch=watch)
        except Unexpected:
            # damage, or frames that the packets do not announce: what decodes counts
            return self._predict(video, target, survey_plan(video, longest_s), name, watch=watch)

    def predict_frames(self, images: np.ndarray, fps: float, target: Path) -> Done:
        """Write the table of a video that is in memory.

        Args:
            images: RGB, uint8 [T, H, W, 3].
            fps: frames per second.

        Raises:
            UserError: the array is not of that kind, or the table cannot be written.
        """
        expected = plan_of_images(images, fps)
        name = Path("frames")
        return self._predict(name, target, expected, name.name, show_images(images, expected))

    def layout(self, expected: Plan) -> Layout:
        """Choose the frames that are classified together.

        Raises:
            UserError: the duration of the training clips is unknown.
        """
        decode = self.model.params.decode
        if self.model.frame_outputs.all():
            views = self.model.views
            return frame_layout(expected.times, decode, window=views.window, stride=views.stride)
        clip_s, window_s = self.model.clip_s, self.options.window_s
        if clip_s is None and window_s is None:
            raise UserError("the duration of the training clips is unknown: set --window SECONDS")
        if window_s is None:
            assert clip_s is not None
            window_s = WHOLE * clip_s
        length = window_s if clip_s is None else min(clip_s, window_s)
        return clip_layout(
            expected.times,
            expected.frame_s,
            decode,
            window_s=window_s,
            clip_s=length,
            stride_s=self.options.stride_s,
        )

    def _predict(
        self,
        video: Path,
        target: Path,
        expected: Plan,
        name: str,
        frames: Iterator[Shown] | None = None,
        *,
        watch: Watch | None = None,
    ) -> Done:
        layout = self.layout(expected)
        head = self._head(name, layout.window_s, layout.stride_s)
        count = len(expected.times)
        summary = FaceSummary(head)
        table = Tee([open_table(target, self.options.form, head), summary])
        complete, seen = False, 0
        # around close too: after Ctrl-C the table must be well-formed
        with ctrl_c() as pressed:
            with closed_after_a_fault(table):
                self._add_images(table, target, video, expected, head)
                with track(count, name, "frames", quiet=watch is not None, watch=watch) as progress:
                    one = VideoPass(
                        self.networks,
                        self.detector,
                        frames or stream(video, expected),
                        expected,
                        layout,
                        which=self.options.faces,
                        points=head.points > 0,
                        regions=self.options.page
                        or (self.options.overlay and self.options.attention),
                        likeness=head.likeness,
                    )
                    for row in one.rows(progress):
                        if row.frame >= seen and pressed():
                            break
                        table.add(row)
                        seen = row.frame + 1
                    complete = expected.whole and seen == count
            table.close(complete)
            stopped = pressed()
        warning = None
        if stopped and not seen:
            warning = "stopped before its first frame: no table is left"
        elif stopped and seen < count:
            warning = f"stopped after frame {seen}: the table ends there (complete=false)"
        elif not one.faces:
            warning = f"no face found in {plural(seen, 'frame')}"
        elif not complete:
            warning = f"damaged after frame {seen}: the table ends there (complete=false)"
        return Done(
            target,
            seen,
            one.faces,
            complete,
            warning,
            stopped,
            summary=summary.rows(),
            likeness=head.likeness or Likeness(None),
        )

    def watch_live(self, source: Path, target: Path) -> Done:
        """Write the table of a camera or a named pipe until its end, `--seconds` or Ctrl-C.

        Raises:
            UserError: there is no such camera, or the table cannot be written.
            ClipError: the input is not a video.
        """
        schedule = schedule_of(self.model, self.options.window_s, self.options.stride_s)
        head = self._head(shown(source.name), schedule.length_s, schedule.infer_s)
        one = LivePass(
            self.networks,
            self.detector,
            schedule,
            points=head.points > 0,
            likeness=head.likeness,
        )
        count = 0
        with ctrl_c() as pressed:
            frames = LiveFrames(source, stop=pressed, seconds=self.options.seconds)
            try:
                frames.wait()
                table = open_table(target, self.options.form, head)
                with closed_after_a_fault(table):
                    last = -1
                    for row in one.rows(frames):
                        table.add(row)
                        count += row.frame != last
                        last = row.frame
                table.close(complete=True)
            finally:
                frames.close()
        warning = None
        if not one.faces:
            frames_read = plural(count, "frame")
            warning = f"no face found in {frames_read}" if count else "no frame received"
        return Done(
            target,
            count,
            one.faces,
            True,
            warning,
            dropped=frames.dropped,
            likeness=head.likeness or Likeness(None),
        )

    def _head(self, name: str, window_s: float, stride_s: float) -> TableHeader:
        points = self.options.landmarks or self.options.form in WITH_LANDMARKS
        scheme = self.networks.landmarks.scheme
        main, *also = self.model.displays
        return TableHeader(
            name,
            self.model.classes,
            scheme.points if points else 0,
            window_s,
            stride_s,
            self.model.warning,
            self.model.kind,
            Likeness(self.model.domain),
            also,
            main.thresholds,
        )

    def _add_images(
        self, table: Tee, target: Path, video: Path, expected: Plan, head: TableHeader
    ) -> None:
        """Add the overlay and the page that are wanted."""
        images = table
        if self.options.blur_faces and (self.options.overlay or self.options.page):
            images = Tee([])
            align = self.model.params.align
            table.append(FaceBlur(images, video, expected, self._blur_detector, align))
        if self.options.overlay:
            attention = self.options.attention
            path = overlay_path(target)
            images.append(Overlay(path, video, expected, head, attention=attention))
        if self.options.page:
            images.append(self._page(target, video, expected, head))

    @cached_property
    def _blur_detector(self) -> Detector:
        params = self.model.params
        thresh = min(THRESHOLD, params.align.det_thresh)
        align = params.align.model_copy(update={"det_thresh": thresh})
        return open_detector(self.model.pack, align, params.faces.device)

    def _page(self, target: Path, video: Path, expected: Plan, head: TableHeader) -> Page:
        features = self.model.info["features"]
        regions = {"kind": features["regions"], "names": features["names"]}
        names = region_names(regions) if self.networks.attends else []
        name = self.model.name
        return Page(
            page_path(target),
            video,
            expected,
            head,
            regions=names,
            model=name,
            frame_tasks=self.model.frame_tasks,
            blurred=self.options.blur_faces,
        )
