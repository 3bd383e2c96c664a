"""A face's inputs to the network, computed by the functions of the stages.

T frames, N regions, C x h x w the feature map, P landmarks, K classes, J outputs of further tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from arpgnet.pipeline.geometry.alignment import (
    CONTEXT_QUALITY,
    CROP_PX,
    apply,
    context,
    similarity,
    warp,
)
from arpgnet.pipeline.geometry.grid import grid_pooling
from arpgnet.pipeline.geometry.parts import assemble_parts, key_points
from arpgnet.pipeline.geometry.pose import HeadPose, head_pose, within
from arpgnet.pipeline.geometry.quality import face_px
from arpgnet.pipeline.geometry.regions import place_regions
from arpgnet.pipeline.networks.appearance import AppearanceNetwork, centers, to_half
from arpgnet.pipeline.networks.image_network import resolve_precision
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.rows import Regions
from arpgnet.pipeline.predict.windows import FaceResult
from arpgnet.pipeline.training.attention import attends_to_regions, frame_attention
from arpgnet.pipeline.training.data import Dataset, Partition, fill
from arpgnet.pipeline.training.domain import view_means
from arpgnet.pipeline.training.features import Features, empty_features
from arpgnet.pipeline.training.kinds import trained_further, trained_task
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.labels import FrameLabels
from arpgnet.pipeline.training.network import all_logits
from arpgnet.pipeline.training.tasks import ClipTask, FrameTask, Task
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg


@dataclass(frozen=True)
class Cut:
    """A face cut out of a frame: matrix [2, 3] image to crop, box [4], key points [5, 2], the
    frame's width and height, crop uint8 [S, S, 3] and context uint8 [192, 192, 3]; the matrix is
    to a crop of 112 pixels, whatever S is."""

    matrix: np.ndarray
    box: np.ndarray
    kps: np.ndarray
    frame_wh: tuple[int, int]
    crop: np.ndarray
    context: np.ndarray


def cut_out(
    image: np.ndarray,
    box: np.ndarray,
    kps: np.ndarray,
    min_face_px: int = 0,
    crop_px: int = CROP_PX,
) -> Cut | None:
    """Crop the face as the align stage does; None if it is smaller than `align.min_face_px`, or if
    its points give no aligned crop."""
    matrix = None if face_px(box) < min_face_px else similarity(kps)
    if matrix is None:
        return None
    around = decode_jpeg(encode_jpeg(context(image, box), CONTEXT_QUALITY))
    height, width = image.shape[:2]
    return Cut(matrix, box, kps, (width, height), warp(image, matrix, crop_px), around)


def in_box(xy_N2: np.ndarray, cut: Cut) -> np.ndarray:
    """Convert positions in [0, 1] of the crop to fractions of the face's box."""
    to_image = cv2.invertAffineTransform(cut.matrix)
    left, top, right, bottom = cut.box
    image_N2 = apply(to_image, xy_N2 * CROP_PX)
    placed: np.ndarray = (image_N2 - [left, top]) / [right - left, bottom - top]
    return placed


class Networks:
    """The pack's networks and the run's, opened once."""

    def __init__(self, model: Model) -> None:
        params, device = model.params, model.params.faces.device
        self.model = model
        self.crop_px = model.embedding.input_px
        self.landmarks = LandmarkNetwork(model.pack.models["landmark"], device=device)
        self.appearance = AppearanceNetwork(
            model.embedding,
            model.opened.pop() if model.opened else None,
            batch=params.appearance.batch,
            device=device,
            precision=resolve_precision(params.appearance.precision, device),
        )
        cells = centers(model.embedding)
        sides = self.appearance.layout.map_shape[1:]
        self._cells = (*sides, cells.first, cells.step)
        # as read back from the stored metadata: double to single precision
        fixed = grid_pooling(params.graph.grid, *sides).tolist()
        self._pooling = torch.tensor(fixed) if params.graph.regions == "grid" else None

    def describe(
        self, cuts: Sequence[Cut], *, pose: bool = True
    ) -> tuple[Features, list[HeadPose | None]]:
        """Compute the features, and the head's pose, of T frames with a face.

        Features of a face that `graph.max_yaw` masks are not valid.

        Args:
            pose: whether it is of interest; without, it is None if `graph.max_yaw` needs none.

        Raises:
            ClipError: the appearance network returned values that are not finite.
        """
        crops = np.stack([cut.crop for cut in cuts])
        embedding, maps = (to_half(values) for values in self.appearance.describe(crops))
        boxes = np.stack([cut.box for cut in cuts])
        in_image = self.landmarks.locate(np.stack([cut.context for cut in cuts]), boxes)
        matrices = np.stack([cut.matrix for cut in cuts])
        points = np.stack([apply(*pair) for pair in zip(matrices, in_image, strict=True)])
        parts = None
        if self.model.params.appearance.dual:
            kps = key_points(np.stack([cut.kps for cut in cuts]), matrices, crops.shape[1])
            found = self.appearance.describe(assemble_parts(crops, kps))
            parts = to_half(found[0]), to_half(found[1])
        graph = self.model.params.graph
        places = place_regions(
            graph.regions,
            graph.grid,
            self.landmarks.scheme.name,
            self._cells,
            points,
            matrices,
            np.array([cut.frame_wh for cut in cuts]),
        )
        pooling = self._pooling
        if pooling is None:
            # data/graphs keeps them in half precision
            pooling = torch.from_numpy(places["pooling"].astype(np.float16).astype(np.float32))
        scheme = self.landmarks.scheme.name
        pairs = zip(in_image, cuts, strict=True)
        max_yaw = self.model.params.graph.max_yaw
        poses: list[HeadPose | None] = [None] * len(cuts)
        shown = np.ones(len(cuts), dtype=bool)
        if pose or max_yaw is not None:
            poses = [head_pose(face, scheme, *cut.frame_wh) for face, cut in pairs]
        if max_yaw is not None:
            shown = within(np.stack([one.angles for one in poses if one]), max_yaw)
        features = empty_features(len(cuts), self.model.info["features"])
        fill(
            features,
            slice(0, len(cuts)),
            shown,
            embedding=embedding,
            maps=maps,
            node_xy=places["node_xy"].astype(np.float32),
            visible=places["visible"],
            pooling=pooling,
            parts=parts,
        )
        return features, poses

    @property
    def attends(self) -> bool:
        """Whether the network has attention over regions."""
        return attends_to_regions(self.model.network)

    def regions(self, cuts: Sequence[Cut], features: Features) -> list[Regions]:
        """Compute what the network attends to in T frames with a face."""
        count = len(cuts)
        batch = features.take(torch.arange(count)[None], torch.tensor([-1]))
        assert batch.node_xy is not None
        xy_TN2 = batch.node_xy[0].numpy()
        with torch.inference_mode():
            attention_BTN, uniform_BTN = frame_attention(self.model.network, batch)
        times_TN = attention_BTN[0] / np.where(uniform_BTN[0] > 0, uniform_BTN[0], np.nan)
        of_frames = zip(cuts, xy_TN2, times_TN, strict=True)
        return [Regions(in_box(xy_N2, cut), times_N) for cut, xy_N2, times_N in of_frames]

    def classify(
        self, frames: np.ndarray, faces: Mapping[int, Sequence[Row]]
    ) -> dict[int, FaceResult]:
        """Classify each face in a window with the run's network.

        Args:
            frames: their numbers in the video, int64 [T].
            faces: by their id; a row for each of the T frames, None if the face is not in it.
        """
        seen = {face: np.array([row is not None for row in rows]) for face, rows in faces.items()}
        if not faces:
            return {}
        features = self._concat(faces)
        count, length = len(faces), len(frames)
        if self.model.frame_outputs.all():
            rows = np.arange(count * length).reshape(count, length)
            found = self._values(features, rows, per_frame=True)
            distances = self._distances(features, rows)
        else:
            found, distances = self._classify_clips(frames, [str(face) for face in faces], features)
        views = np.split(distances, count)
        return {face: FaceResult(found[n], seen[face], views[n]) for n, face in enumerate(faces)}

    def _classify_clips(
        self, frames: np.ndarray, faces: list[str], features: Features
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict a window as evaluation does a clip: float64 [faces, K + J], or, where some
        outputs are of frames, [faces, T, K + J]; and how far the views of the main task lie from
        the training clips."""
        count, length = len(faces), len(frames)
        labels = dict.fromkeys(faces, FrameLabels(frames, np.zeros(length, np.int64)))
        dataset = Dataset(
            faces,
            np.arange(count + 1) * length,
            np.tile(frames, count),
            features.valid.numpy(),
            np.full(count, -1),
            Partition.deal(np.full(count, length)),
            features,
            self.model.info["features"],
            {},
            "",
            labels,
        )
        clips = np.arange(count)

        def predict(task: Task) -> tuple[np.ndarray, np.ndarray]:
            shown = task.evaluation(clips)
            values = self._values(features, shown.rows, per_frame=task.name == "frame")
            return task.combine(clips, shown, values), shown.rows

        whole, rows = predict(ClipTask(dataset, self.model.views))
        if not self.model.mixed:
            return whole, self._distances(features, rows)
        single, windows = predict(FrameTask(dataset, self.model.views))
        found = np.where(
            self.model.frame_outputs, single.reshape(count, length, -1), whole[:, None]
        )
        return found, self._distances(features, windows if self.model.of_frames else rows)

    def _concat(self, faces: Mapping[int, Sequence[Row]]) -> Features:
        rows = [row for own in faces.values() for row in own]
        features = empty_features(len(rows), self.model.info["features"])
        for number, row in enumerate(rows):
            if row is not None:
                for name, value in features.tensors().items():
                    value[number] = row[name]
        return features

    def _distances(self, features: Features, rows: np.ndarray) -> np.ndarray:
        """Return how far views int64 [V, T] lie from the training clips; none if unknown."""
        domain = self.model.domain
        if domain is None:
            return np.zeros(0)
        found: np.ndarray = domain.distance(view_means(features, rows)).numpy()
        return found

    def _values(self, features: Features, rows: np.ndarray, *, per_frame: bool) -> np.ndarray:
        """Predict views int64 [V, T]: float64 [V, K + J], or [V, T, K + J] of frames; the J are
        of further tasks."""
        kind = trained_task(self.model.kind, self.model.classes)
        further = trained_further(self.model.info)
        labels = rows.shape if per_frame else rows.shape[:1]
        batch = features.take(torch.from_numpy(rows), torch.full(labels, -1))
        with torch.inference_mode():
            found: list[Any] = [
                values_of(kind, further, *all_logits(network, batch)).double()
                for network in (self.model.network, *self.model.others)
            ]
        mean: np.ndarray = torch.stack(found).mean(0).numpy()
        return mean


def values_of(kind: Kind, further: Sequence[Kind], logits: Tensor, also: Tensor | None) -> Tensor:
    """Return what a task predicts, and after it what further ones do: [..., K + J].

    Args:
        logits, also: [..., K], and [..., J] where there are further tasks.
    """
    found = [kind.values(logits.float())]
    if also is not None:
        parts = also.float().split([len(one.outputs) for one in further], dim=-1)
        found += [one.values(part) for one, part in zip(further, parts, strict=True)]
    return torch.cat(found, dim=-1)


# the features of one frame, by name; None if the network is not shown the face in it
Row = Mapping[str, Tensor] | None


def rows_of(features: Features) -> list[Row]:
    """Split frame by frame; each owns its memory, so that others can be freed."""
    tensors = features.tensors()
    return [
        {name: value[row].clone() for name, value in tensors.items()} if shown else None
        for row, shown in enumerate(features.valid.tolist())
    ]
