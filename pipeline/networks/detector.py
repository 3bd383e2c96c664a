"""Face detectors with five keypoints: SCRFD through InsightFace's class, and YuNet.

The pack names the class that reads a graph; it is never guessed from its shape:
`insightface.model_zoo.get_model` takes YuNet's twelve outputs for SCRFD's.

Keypoints are, in this order, the image-left eye, the image-right eye, the nose, the
image-left and the image-right corner of the mouth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.geometry.tracks import iou
from arpgnet.pipeline.networks.dynamic_shapes import SAME, any_sides
from arpgnet.pipeline.networks.packs import ModelSpec, Pack
from arpgnet.pipeline.networks.sessions import Device, OnnxGraph, make_session, open_graph

# boxes that overlap more are one face; SCRFD's own value
NMS_IOU = 0.4
# the coarsest stride: where a part begins at a multiple of it, its cells are the whole image's
GRID_PX = 32
YUNET_STRIDES = (8, 16, 32)
YUNET_HEADS = ("cls", "obj", "bbox", "kps")

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Detections:
    """The faces of one image, most certain first.

    Shapes: boxes float32 `[n, 4]` (x1, y1, x2, y2 in pixels), scores float32 `[n]` in 0..1,
    kps float32 `[n, 5, 2]` in pixels.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    kps: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def shifted(self, dx: float, dy: float) -> Detections:
        """Return the same faces in an image whose origin lies at (-dx, -dy)."""
        offset = np.array([dx, dy], dtype=np.float32)
        return Detections(self.boxes + np.tile(offset, 2), self.scores, self.kps + offset)

    def scaled(self, by: float) -> Detections:
        """Return the same faces in an image that is `by` times as large."""
        factor = np.float32(by)
        return Detections(self.boxes * factor, self.scores, self.kps * factor)

    def picked(self, rows: slice | NDArray) -> Detections:
        """Return some of the faces, or all in another order."""
        return Detections(self.boxes[rows], self.scores[rows], self.kps[rows])

    @staticmethod
    def concat(parts: Sequence[Detections]) -> Detections:
        """Return all faces of several, one behind the other; at least one part."""
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.kps for part in parts]),
        )


class Detector(Protocol):
    """Finds faces in an RGB image, uint8 `[H, W, 3]`."""

    any_sides: bool
    """Whether `look` can be called: the graph takes images of any sides."""

    def detect(self, image: Image) -> Detections:
        """Return the faces of a whole image, which is scaled to the detector's side first."""
        ...

    def look(self, part: Image) -> Detections:
        """Return the faces of a part, as it is; its sides are multiples of `GRID_PX`."""
        ...

    def scale(self, image: Image) -> float:
        """Return how many of the detector's pixels one of the image becomes in `detect`."""
        ...


def make_detector(
    spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int = 1
) -> Detector:
    """Return the detector for a pack's `kind`.

    Args:
        det_px: the longer side of the image the network sees; None means the pack's.

    Raises:
        UserError: the graph has no keypoints, or takes another fixed size.
    """
    make = YunetDetector if spec.kind == "yunet" else ScrfdDetector
    return make(spec, det_px=det_px, thresh=thresh, device=device, threads=threads)


def find_faces(detector: Detector, image: Image, pad_retry: float) -> Detections:
    """Detect, and when nothing is found look again with a border round the image.

    Detectors are trained on faces within a scene and miss one that fills the frame
    (deepinsight/insightface#1518). A black border of `pad_retry` times the longer side, then of
    twice that, makes such a face smaller and gives it surroundings. Black, because a mirrored
    border adds mirrored faces, and a stretched one finds fewer of the closest.
    """
    found = detector.detect(image)
    for times in (1, 2):
        if len(found) or pad_retry == 0.0:
            break
        pad = round(times * pad_retry * max(image.shape[:2]))
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        found = detector.detect(np.asarray(padded, dtype=np.uint8)).shifted(-pad, -pad)
    return found


class ScrfdDetector:
    """SCRFD (Guo et al., arXiv:2105.04714) in `insightface.model_zoo.SCRFD`, on our session.

    A graph whose input was fixed when it was exported gets dynamic shapes, if its results
    stay the same: InsightFace's published detectors are fixed at 640 x 640 or not at all.
    """

    def __init__(
        self, spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int
    ) -> None:
        # imported here: it takes 0.4 s, and a run without new clips needs no detector
        from insightface.model_zoo import SCRFD

        graph = open_graph(spec)
        session = make_session(graph, threads=threads, device=device)
        # static sessions would be made by insightface, with options of its own; with the file's
        # name it would parse the file too
        net = SCRFD(None, session=session, static_shape_sessions=False)
        if not net.use_kps:
            raise UserError(f"{spec.path} gives no keypoints: an SCRFD with 9 outputs is needed")
        fixed = net.static_input_size
        self._net = net
        if fixed is not None:
            dynamic = _dynamic_shape_session(graph, session, threads, device)
            if dynamic is not None:
                self._net = SCRFD(None, session=dynamic, static_shape_sessions=False)
        self.any_sides = self._net.static_input_size is None
        if self.any_sides and fixed is not None:
            det_px, fixed = det_px or max(fixed), None
        self._px = _resolve_px(spec, det_px, fixed)
        self._net.prepare(ctx_id=0, det_thresh=thresh, nms_thresh=NMS_IOU)

    def detect(self, image: Image) -> Detections:
        if not self.any_sides:
            return self._find(image, (self._px, self._px))
        # InsightFace fills the image up to a square: a quarter of 4:3 is black
        height, width = (round(side * self.scale(image)) for side in image.shape[:2])
        return self._find(image, (on_grid(width), on_grid(height)))

    def look(self, part: Image) -> Detections:
        return self._find(part, (part.shape[1], part.shape[0]))

    def scale(self, image: Image) -> float:
        return self._px / max(image.shape[:2])

    def _find(self, image: Image, sides: tuple[int, int]) -> Detections:
        rows, kps = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), input_size=sides)
        rows = np.asarray(rows, dtype=np.float32)
        return Detections(rows[:, :4], rows[:, 4], np.asarray(kps, dtype=np.float32))


def _dynamic_shape_session(
    graph: OnnxGraph, original: onnxruntime.InferenceSession, threads: int, device: Device
) -> onnxruntime.InferenceSession | None:
    """Open the graph for images of any sides, if its results at its own sides are the same."""
    source = original.get_inputs()[0]
    # noise has edges of every kind, and a ramp has none
    trial = np.random.default_rng(0).uniform(-1, 1, source.shape).astype(np.float32)
    trial += np.linspace(-1, 1, source.shape[-1], dtype=np.float32)
    try:
        resizable = any_sides(graph.model).SerializeToString()
        dynamic = make_session(resizable, threads=threads, device=device)
        pairs = zip(
            original.run(None, {source.name: trial}),
            dynamic.run(None, {source.name: trial}),
            strict=True,
        )
        same = all(np.allclose(one, other, rtol=0, atol=SAME) for one, other in pairs)
    except Exception:  # whatever it is, the original graph works
        return None
    return dynamic if same else None


class YunetDetector:
    """YuNet (Wu, Peng & Yu, doi 10.1007/s11633-023-1423-y): BGR 0..255 in, anchor-free.

    The decoding is that of OpenCV's `FaceDetectorYN`, whose engine is not ours to set threads
    or a device for.
    """

    def __init__(
        self, spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int
    ) -> None:
        self._session = make_session(open_graph(spec), threads=threads, device=device)
        self._outputs = [f"{head}_{stride}" for head in YUNET_HEADS for stride in YUNET_STRIDES]
        missing = {*self._outputs} - {output.name for output in self._session.get_outputs()}
        if missing:
            raise UserError(f"{spec.path} is not a YuNet: it has no output {min(missing)}")
        graph_input = self._session.get_inputs()[0]
        self._input = graph_input.name
        height, width = graph_input.shape[2:4]
        self._fixed = (width, height) if isinstance(height, int) else None
        self.any_sides = self._fixed is None
        self._px = _resolve_px(spec, det_px, self._fixed)
        self._thresh = thresh

    def detect(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        scale = self.scale(image)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas_width, canvas_height = self._fixed or (on_grid(inner[0]), on_grid(inner[1]))
        canvas = np.zeros((canvas_height, canvas_width, 3), dtype=np.uint8)
        canvas[: inner[1], : inner[0]] = cv2.resize(image, inner)
        found = self.look(canvas)
        # width and height were rounded on their own
        back = np.array([width / inner[0], height / inner[1]], dtype=np.float32)
        return Detections(found.boxes * np.tile(back, 2), found.scores, found.kps * back)

    def look(self, part: Image) -> Detections:
        inputs = cv2.dnn.blobFromImage(part, swapRB=True)
        maps = dict(
            zip(self._outputs, self._session.run(self._outputs, {self._input: inputs}), strict=True)
        )
        return _merge([self._decode(maps, stride, part.shape[1]) for stride in YUNET_STRIDES])

    def scale(self, image: Image) -> float:
        return self._px / max(image.shape[:2])

    def _decode(self, maps: dict[str, NDArray], stride: int, canvas_width: int) -> Detections:
        """Return one level: cells in row order, offsets in strides, sizes as logarithms."""
        cls, obj, box, kps = (maps[f"{head}_{stride}"][0] for head in YUNET_HEADS)
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        above_threshold = np.flatnonzero(scores >= self._thresh)
        columns = canvas_width // stride
        cells = np.stack([above_threshold % columns, above_threshold // columns], axis=1).astype(
            np.float32
        )
        centers = (cells + box[above_threshold, :2]) * stride
        halves = np.exp(box[above_threshold, 2:]) * stride / 2
        points = (kps[above_threshold].reshape(-1, 5, 2) + cells[:, None]) * stride
        boxes = np.concatenate([centers - halves, centers + halves], axis=1)
        return Detections(
            boxes.astype(np.float32),
            scores[above_threshold].astype(np.float32),
            points.astype(np.float32),
        )


def _merge(levels: list[Detections]) -> Detections:
    """Return all levels together, most certain first, overlapping ones suppressed."""
    found = Detections.concat(levels)
    found = found.picked(np.argsort(-found.scores, kind="stable"))
    overlap = iou(found.boxes, found.boxes)
    alive = np.ones(len(found), dtype=bool)
    for first in range(len(found)):
        if alive[first]:
            alive[first + 1 :] &= overlap[first, first + 1 :] <= NMS_IOU
    return found.picked(alive)


def _resolve_px(spec: ModelSpec, det_px: int | None, fixed: tuple[int, int] | None) -> int:
    """Return the detector's input side.

    Raises:
        UserError: the graph's fixed input is not square or not the side asked for.
    """
    if fixed is None:
        return det_px or spec.input_px
    if fixed[0] != fixed[1] or (det_px is not None and det_px != fixed[0]):
        raise UserError(
            f"align.det_px: {det_px or spec.input_px}: {spec.path.name} takes "
            f"{fixed[0]}x{fixed[1]} pixels only; set align.det_px: pack"
        )
    return fixed[0]


def on_grid(side: float) -> int:
    """Return the next multiple of `GRID_PX`."""
    return -(-math.ceil(side) // GRID_PX) * GRID_PX


def open_detector(pack: Pack, align: AlignParams, device: Device) -> Detector:
    """Open the pack's detector by the settings."""
    # one thread whatever the number of workers: sums are then added in one order
    return make_detector(
        pack.models["detector"],
        det_px=None if align.det_px == "pack" else align.det_px,
        thresh=align.det_thresh,
        device=device,
        threads=1,
    )
