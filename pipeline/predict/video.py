"""One pass over one video: frames in, the table's rows out.

Two followers process the frames. One gets every frame: where each face is, and whose. The other
gets the frames that are classified, JPEG-compressed as for the align stage, so that the network
sees the same input as in evaluation.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.progress import Tracker
from arpgnet.pipeline.geometry.pose import HeadPose
from arpgnet.pipeline.geometry.tracks import Track, choose, iou, link
from arpgnet.pipeline.networks.detector import Detections, Detector
from arpgnet.pipeline.networks.follower import make_follower
from arpgnet.pipeline.predict.faces import WAITING, Face, Identities, largest_first
from arpgnet.pipeline.predict.features import Cut, Networks, cut_out, rows_of
from arpgnet.pipeline.predict.features import Row as FeatureRow
from arpgnet.pipeline.predict.frame import Frame
from arpgnet.pipeline.predict.likeness import Likeness
from arpgnet.pipeline.predict.poses import Poses
from arpgnet.pipeline.predict.rows import Regions, Row
from arpgnet.pipeline.predict.windows import (
    ClipScores,
    FaceResult,
    FrameScores,
    Layout,
    MixedScores,
    Window,
    nearest,
)
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg, shrink
from arpgnet.pipeline.video.stream import Plan, Shown

Which = Literal["all", "main"]

# boxes of one face by the two followers overlap by more
SAME_IOU = 0.3


@dataclass
class _Shown:
    """A frame that is classified: its cropped faces, their features, poses and identities."""

    index: int
    time_s: float
    sides: tuple[int, ...]
    found: Detections
    cuts: list[Cut | None]
    rows: list[FeatureRow]
    regions: list[Regions | None]
    poses: list[HeadPose | None]
    who: list[int | None] | None = None


@dataclass(frozen=True)
class _Watched:
    """What the network attended to in a frame that it was shown."""

    pick: int
    regions: Regions


class VideoPass:
    """Computes the rows of a video; holds little more than one window in memory.

    Args:
        frames: of the video, as `expected` says.
        layout: which of them are classified together.
        which: every face, or in each window the one that the align stage would choose.
        points: whether rows have landmarks.
        regions: whether rows have the attention to regions.
        likeness: is told how far each face lies from the training clips.

    `faces` is the number of people so far.
    """

    def __init__(
        self,
        networks: Networks,
        detector: Detector,
        frames: Iterator[Shown],
        expected: Plan,
        layout: Layout,
        *,
        which: Which,
        points: bool,
        regions: bool = False,
        likeness: Likeness | None = None,
    ) -> None:
        model = networks.model
        self._networks, self._params, self._source_frames = networks, model.params, frames
        self._expected, self._layout = expected, layout
        self._which, self._points = which, points
        self._watch = regions and networks.attends
        self._likeness = likeness or Likeness(None)
        self._watched: dict[int, deque[_Watched]] = {}
        self._poses = Poses()
        self._identities = Identities(
            lambda crops: networks.appearance.describe(crops)[0],
            model.params.align.track_iou,
            networks.crop_px,
        )
        self._scores = self._make_scores()
        self._count = len(expected.times)
        # frames on their way through the follower of all frames
        self._coming: deque[tuple[int, float, float]] = deque()
        self._frames: deque[Frame] = deque()
        self._behind: dict[int, Frame] = {}
        self._passed = 0
        self._all = make_follower(detector, model.params.align).follow(self._source())
        # frames to be classified, on their way to the other follower
        self._queue: deque[tuple[int, float, np.ndarray]] = deque()
        self._queued: deque[tuple[int, float]] = deque()
        self._picked = 0
        self._some = make_follower(detector, model.params.align).follow(self._sampled())
        self._shown: dict[int, _Shown] = {}
        self._next_shown = 0

    def _make_scores(self) -> ClipScores | FrameScores | MixedScores:
        model = self._networks.model
        if not model.frame_outputs.any():
            return ClipScores()
        frames = FrameScores(
            self._layout.picks,
            len(self._expected.times),
            smooth=model.smooth,
            kind=model.kind,
            outputs=len(model.classes),
        )
        return MixedScores(frames, model.frame_outputs) if model.mixed else frames

    @property
    def faces(self) -> int:
        return len(self._identities.people)

    def rows(self, progress: Tracker) -> Iterator[Row]:
        """Yield the table's rows, frame by frame.

        Raises:
            Unexpected: the frames are not the expected ones.
            ClipError, UserError: the video cannot be read.
        """
        windows = self._layout.windows
        done = 0
        for number, window in enumerate(windows):
            self._scores.add(window, self._classify(window))
            last = number + 1 == len(windows)
            known = self._count if last else windows[number + 1].first - self._scores.ahead
            until = max(done, known)
            for index in range(done, until):
                yield from self._rows_of(self._frame(index))
                progress.advance()
            done = until
            if not last:
                self._forget(windows[number + 1])

    # ---- frames ------------------------------------------------------------------------------

    def _source(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield every frame for the first follower; queue those to be classified."""
        decode = self._params.decode
        picks = self._layout.picks
        for shown in self._source_frames:
            image = shrink(shown.image, decode.max_side)
            scale = shown.image.shape[1] / image.shape[1]
            if self._picked < len(picks) and shown.index == picks[self._picked]:
                self._picked += 1
                kept = decode_jpeg(encode_jpeg(image, decode.jpeg_quality))
                self._queue.append((shown.index, shown.time_s, kept))
            self._coming.append((shown.index, shown.time_s, scale))
            yield shown.time_s, image

    def _step(self) -> bool:
        """Pass one more frame through the first follower; False if there is none."""
        step = next(self._all, None)
        if step is None:
            self._identities.resolve()
            return False
        image, found = step
        index, time_s, scale = self._coming.popleft()
        faces = self._identities.step(index, time_s, image, found)
        frame = Frame.measure(
            self._networks, index, time_s, image, faces, points=self._points, scale=scale
        )
        self._frames.append(frame)
        self._behind[index] = frame
        self._passed = index + 1
        return True

    def _pass(self, index: int) -> None:
        """Read on until the identities in the frame are known."""
        while self._passed < min(self._count, index + 1 + WAITING):
            if not self._step():
                raise ClipError("the file changed while it was being read")
        if self._passed >= self._count:
            self._identities.resolve()

    def _frame(self, index: int) -> Frame:
        self._pass(index)
        return self._frames.popleft()

    # ---- windows -----------------------------------------------------------------------------

    def _sampled(self) -> Iterator[tuple[float, np.ndarray]]:
        while True:
            while not self._queue:
                if not self._step():
                    return
            index, time_s, image = self._queue.popleft()
            self._queued.append((index, time_s))
            yield time_s, image

    def _classify(self, window: Window) -> dict[int, FaceResult]:
        positions = [int(row) for row in window.rows]
        while self._next_shown <= positions[-1]:
            image, found = next(self._some)
            pairs = zip(found.boxes, found.kps, strict=True)
            least, side = self._params.align.min_face_px, self._networks.crop_px
            cuts = [cut_out(image, box, kps, least, side) for box, kps in pairs]
            index, time_s = self._queued.popleft()
            unknown = len(cuts) * [None]
            self._shown[self._next_shown] = _Shown(
                index, time_s, image.shape[1::-1], found, cuts, [*unknown], [*unknown], [*unknown]
            )
            self._next_shown += 1
        shown = [self._shown[position] for position in positions]
        self._pass(shown[-1].index)
        self._name(shown)
        faces = self._by_face(shown)
        frames = np.array([one.index for one in shown])
        results = self._networks.classify(frames, faces)
        for result in results.values():
            self._likeness.add(result.distance)
        return results

    def _name(self, shown: Sequence[_Shown]) -> None:
        """Identify the faces by their boxes among those of all frames; a face without a match gets
        the most common identity of its own track."""
        for one in shown:
            if one.who is None:
                one.who = _same(one.found.boxes, self._behind[one.index].faces)
        if all(None not in _named(one) for one in shown):
            return
        tracks = link([one.found.boxes for one in shown], self._params.align.track_iou)
        for of_track in tracks:
            places = list(zip(of_track.frames, of_track.picks, strict=True))
            names = [_named(shown[frame])[pick] for frame, pick in places]
            known = Counter(name for name in names if name is not None)
            if not known:
                continue
            common = known.most_common(1)[0][0]
            for frame, pick in places:
                who = _named(shown[frame])
                if who[pick] is None and common not in who:
                    who[pick] = common

    def _by_face(self, shown: Sequence[_Shown]) -> dict[int, list[FeatureRow]]:
        """Collect each face's features in the window's frames."""
        places: dict[int, list[tuple[int, int]]] = {}
        for frame, one in enumerate(shown):
            for pick, face in enumerate(_named(one)):
                if face is not None and one.cuts[pick] is not None:
                    places.setdefault(face, []).append((frame, pick))
        if self._which == "main" and places:
            places = self._main(shown, places)
        found: dict[int, list[FeatureRow]] = {}
        for face in sorted(places):
            rows: list[FeatureRow] = [None] * len(shown)
            self._describe([(shown[frame], pick) for frame, pick in places[face]])
            for frame, pick in places[face]:
                rows[frame] = shown[frame].rows[pick]
                self._note(face, shown[frame], pick)
            if any(row is not None for row in rows):
                found[face] = rows
        return found

    def _describe(self, wanted: Sequence[tuple[_Shown, int]]) -> None:
        """Compute missing features, all of one face together, as the stages do."""
        fresh: list[tuple[_Shown, int, Cut]] = []
        for one, pick in wanted:
            cut = one.cuts[pick]
            if one.rows[pick] is None and cut is not None:
                fresh.append((one, pick, cut))
        if not fresh:
            return
        cuts = [cut for _, _, cut in fresh]
        features, poses = self._networks.describe(cuts, pose=not self._points)
        for (one, pick, _), row, pose in zip(fresh, rows_of(features), poses, strict=True):
            one.rows[pick], one.poses[pick] = row, pose
            if row is None:
                # not again for the next window
                one.cuts[pick] = None
        if self._watch:
            found = self._networks.regions(cuts, features)
            for (one, pick, _), regions in zip(fresh, found, strict=True):
                one.regions[pick] = regions

    def _note(self, face: int, shown: _Shown, pick: int) -> None:
        self._poses.add(face, shown.time_s, shown.poses[pick])
        regions = shown.regions[pick]
        known = self._watched.setdefault(face, deque())
        if regions is not None and not (known and known[-1].pick >= shown.index):
            known.append(_Watched(shown.index, regions))

    def _main(
        self, shown: Sequence[_Shown], places: dict[int, list[tuple[int, int]]]
    ) -> dict[int, list[tuple[int, int]]]:
        """Choose the face that the align stage would choose."""
        tracks = []
        for face, seen in places.items():
            one = Track(face)
            for frame, pick in seen:
                one.add(frame, pick, shown[frame].found.boxes[pick])
            tracks.append(one)
        width, height = shown[0].sides
        chosen = choose(tracks, self._params.align.main_face, len(shown), width, height)
        assert chosen is not None
        return {chosen.track_id: places[chosen.track_id]}

    def _forget(self, coming: Window) -> None:
        """Drop what no later window shows."""
        first = int(coming.rows[0])
        for position in [one for one in self._shown if one < first]:
            del self._shown[position]
        index = int(self._layout.picks[first])
        for number in [one for one in self._behind if one < index]:
            del self._behind[number]

    # ---- rows --------------------------------------------------------------------------------

    def _rows_of(self, frame: Frame) -> Iterator[Row]:
        return frame.rows(
            lambda face: self._scores.at(face, frame.index),
            outputs=len(self._networks.model.classes),
            only_scored=self._which == "main",
            regions=lambda face: self._regions_at(face, frame.index),
            pose=lambda face: self._poses.at(face, frame.time_s),
        )

    def _regions_at(self, face: int, frame: int) -> Regions | None:
        best = nearest(self._watched.get(face), frame)
        return None if best is None else best.regions


def _named(shown: _Shown) -> list[int | None]:
    assert shown.who is not None
    return shown.who


def _same(boxes: np.ndarray, faces: Sequence[Face]) -> list[int | None]:
    """Match each box to a known face, the largest overlaps first."""
    who: list[int | None] = [None] * len(boxes)
    known = [face for face in faces if face.tracklet.face is not None]
    if not known or not len(boxes):
        return who
    overlap = iou(boxes, np.stack([face.box for face in known]))
    for row, column in largest_first(overlap, SAME_IOU):
        who[row] = known[column].tracklet.face
    return who
