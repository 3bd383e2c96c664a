"""One pass over live frames: no window contains future frames.

One follower searches every frame for faces. Frames are sampled for the network at the rate of a
training clip; the network classifies the samples of the last clip's duration, every `--stride`,
and a result is valid until the next one. Before the first full window there is no result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.detector import Detector
from arpgnet.pipeline.networks.follower import make_follower
from arpgnet.pipeline.predict.faces import WAITING, Face, Identities, Tracklet
from arpgnet.pipeline.predict.features import Networks, cut_out, rows_of
from arpgnet.pipeline.predict.features import Row as FeatureRow
from arpgnet.pipeline.predict.frame import Frame
from arpgnet.pipeline.predict.likeness import Likeness
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.poses import Poses
from arpgnet.pipeline.predict.rows import Row
from arpgnet.pipeline.predict.windows import STRIDE_S, Scored
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg, shrink
from arpgnet.pipeline.video.stream import Shown


@dataclass(frozen=True)
class SamplingSchedule:
    """How often a frame is sampled (`every_s`), how many at most and over how many seconds, and how
    often the network classifies them; seconds."""

    every_s: float
    frames: int
    length_s: float
    infer_s: float


def schedule_of(
    model: Model, window_s: float | None, stride_s: float = STRIDE_S
) -> SamplingSchedule:
    """Choose the schedule as in training.

    Args:
        window_s: a shorter window than a training clip.
        stride_s: the longest time between two results, where it is no shorter than that between
            two samples.

    Raises:
        UserError: the duration of the training clips is unknown.
    """
    decode = model.params.decode
    length = min((one for one in (model.clip_s, window_s) if one is not None), default=None)
    frames_alone = bool(model.frame_outputs.all())
    if length is None and (decode.sampling == "uniform" or not frames_alone):
        raise UserError("the duration of the training clips is unknown: set --window SECONDS")
    every = 1.0 / decode.fps
    if decode.sampling == "uniform":
        assert length is not None
        every = length / decode.frames
    if frames_alone:
        views = model.views
        return SamplingSchedule(every, views.window, views.window * every, views.stride * every)
    assert length is not None
    frames = max(1, round(length / every))
    return SamplingSchedule(every, frames, length, max(1, int(stride_s / every)) * every)


@dataclass(frozen=True)
class _Picked:
    """A sampled frame: each face's features."""

    index: int
    time_s: float
    rows: list[tuple[Tracklet, FeatureRow]]


class LivePass:
    """Computes the rows of live frames; holds only the last window in memory."""

    def __init__(
        self,
        networks: Networks,
        detector: Detector,
        schedule: SamplingSchedule,
        *,
        points: bool,
        likeness: Likeness | None = None,
    ) -> None:
        self._likeness = likeness or Likeness(None)
        self._networks, self._params, self._schedule = networks, networks.model.params, schedule
        self._points = points
        self._identities = Identities(
            lambda crops: networks.appearance.describe(crops)[0],
            self._params.align.track_iou,
            networks.crop_px,
        )
        # a follower that interpolates would wait for frames
        self._follower = replace(
            make_follower(detector, self._params.align), max_interpolation_s=0.0
        )
        self._coming: deque[tuple[Shown, float]] = deque()
        self._waiting: deque[tuple[Frame, dict[int, Scored]]] = deque()
        self._picked: deque[_Picked] = deque(maxlen=schedule.frames)
        self._due = self._next_inference = 0.0
        self._scores: dict[int, Scored] = {}
        self._poses = Poses()

    @property
    def faces(self) -> int:
        """Number of people so far."""
        return len(self._identities.people)

    def rows(self, frames: Iterable[Shown]) -> Iterator[Row]:
        """Yield the table's rows, at most `WAITING` frames after the frame."""
        for image, found in self._follower.follow(self._shrunk(frames)):
            shown, scale = self._coming.popleft()
            faces = self._identities.step(shown.index, shown.time_s, image, found)
            if shown.time_s >= self._due:
                self._due = max(self._due + self._schedule.every_s, shown.time_s)
                self._pick(shown, image, faces)
            frame = Frame.measure(
                self._networks,
                shown.index,
                shown.time_s,
                image,
                faces,
                points=self._points,
                scale=scale,
            )
            # the current scores: the identities may take longer
            self._waiting.append((frame, dict(self._scores)))
            while self._waiting and self._known(self._waiting[0][0]):
                yield from self._rows_of(*self._waiting.popleft())
        self._identities.resolve()
        while self._waiting:
            yield from self._rows_of(*self._waiting.popleft())

    def _shrunk(self, frames: Iterable[Shown]) -> Iterator[tuple[float, np.ndarray]]:
        for shown in frames:
            image = shrink(shown.image, self._params.decode.max_side)
            self._coming.append((shown, shown.image.shape[1] / image.shape[1]))
            yield shown.time_s, image

    def _pick(self, shown: Shown, image: np.ndarray, faces: list[Face]) -> None:
        """Sample a frame, and run the network if that is due."""
        kept = decode_jpeg(encode_jpeg(image, self._params.decode.jpeg_quality))
        least, side = self._params.align.min_face_px, self._networks.crop_px
        cuts = [(face.tracklet, cut_out(kept, face.box, face.kps, least, side)) for face in faces]
        whole = [(tracklet, cut) for tracklet, cut in cuts if cut is not None]
        rows: list[tuple[Tracklet, FeatureRow]] = []
        if whole:
            features, poses = self._networks.describe(
                [cut for _, cut in whole], pose=not self._points
            )
            for (tracklet, _), pose in zip(whole, poses, strict=True):
                if tracklet.face is not None:
                    self._poses.add(tracklet.face, shown.time_s, pose)
            rows = list(zip((one for one, _ in whole), rows_of(features), strict=True))
        self._picked.append(_Picked(shown.index, shown.time_s, rows))
        while self._picked[0].time_s <= shown.time_s - self._schedule.length_s:
            self._picked.popleft()
        full = shown.time_s >= self._schedule.length_s - 1.5 * self._schedule.every_s
        if full and shown.time_s >= self._next_inference:
            self._next_inference = max(self._next_inference + self._schedule.infer_s, shown.time_s)
            self._classify()

    def _classify(self) -> None:
        faces: dict[int, list[FeatureRow]] = {}
        for place, picked in enumerate(self._picked):
            for tracklet, row in picked.rows:
                if tracklet.face is not None and row is not None:
                    blank: list[FeatureRow] = [None] * len(self._picked)
                    faces.setdefault(tracklet.face, blank)[place] = row
        frames = np.array([picked.index for picked in self._picked])
        found = self._networks.classify(frames, faces)
        self._scores = {}
        for face, result in found.items():
            self._likeness.add(result.distance)
            latest = result.probabilities
            if latest.ndim == 2:
                latest = latest[np.flatnonzero(result.seen)[-1]]
            self._scores[face] = Scored(latest, float(result.seen.mean()))

    def _known(self, frame: Frame) -> bool:
        return len(self._waiting) > WAITING or all(face.tracklet.decided for face in frame.faces)

    def _rows_of(self, frame: Frame, scores: dict[int, Scored]) -> Iterator[Row]:
        return frame.rows(
            scores.get,
            outputs=len(self._networks.model.classes),
            pose=lambda face: self._poses.at(face, frame.time_s),
        )
