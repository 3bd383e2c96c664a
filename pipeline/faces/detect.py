"""Face detectors with five keypoints: SCRFD through InsightFace's class, and YuNet.

Which class reads a graph is told by the pack, never guessed from its shape:
`insightface.model_zoo.get_model` takes YuNet's twelve outputs for SCRFD's.

Keypoints are, in this order, the image-left eye, the image-right eye, the nose, the
image-left and the image-right corner of the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from insightface.model_zoo import SCRFD
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.faces.packs import ModelSpec
from pipeline.faces.sessions import Device, make_session
from pipeline.faces.track import iou

# boxes that overlap more are one face; SCRFD's own value
NMS_IOU = 0.4
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
        """The same faces in an image whose origin lies at (-dx, -dy)."""
        offset = np.array([dx, dy], dtype=np.float32)
        return Detections(self.boxes + np.tile(offset, 2), self.scores, self.kps + offset)


class Detector(Protocol):
    """Finds faces in an RGB image, uint8 `[H, W, 3]`."""

    def detect(self, image: Image) -> Detections: ...


def make_detector(
    spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int = 1
) -> Detector:
    """The detector for a pack's `kind`.

    Args:
        det_px: the longer side of the picture the network sees; None means the pack's.

    Raises:
        UserError: the graph has no keypoints, or takes another fixed size.
    """
    make = YunetDetector if spec.kind == "yunet" else ScrfdDetector
    return make(spec, det_px=det_px, thresh=thresh, device=device, threads=threads)


def find_faces(detector: Detector, image: Image, pad_retry: float) -> Detections:
    """Detect, and when nothing is found look again with a border round the picture.

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
    """SCRFD (Guo et al., arXiv:2105.04714) in `insightface.model_zoo.SCRFD`, on our session."""

    def __init__(
        self, spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int
    ) -> None:
        session = make_session(spec.path, threads=threads, device=device)
        # static sessions would be made by insightface, with options of its own
        self._net = SCRFD(str(spec.path), session=session, static_shape_sessions=False)
        if not self._net.use_kps:
            raise UserError(f"{spec.path} gives no keypoints: an SCRFD with 9 outputs is needed")
        self._px = _resolve_px(spec, det_px, self._net.static_input_size)
        self._net.prepare(ctx_id=0, det_thresh=thresh, nms_thresh=NMS_IOU)

    def detect(self, image: Image) -> Detections:
        """Faces of an RGB image, see `Detections`."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        rows, kps = self._net.detect(bgr, input_size=(self._px, self._px))
        rows = np.asarray(rows, dtype=np.float32)
        return Detections(rows[:, :4], rows[:, 4], np.asarray(kps, dtype=np.float32))


class YunetDetector:
    """YuNet (Wu, Peng & Yu, doi 10.1007/s11633-023-1423-y): BGR 0..255 in, anchor-free.

    The decoding is that of OpenCV's `FaceDetectorYN`, whose engine is not ours to set threads
    or a device for.
    """

    def __init__(
        self, spec: ModelSpec, *, det_px: int | None, thresh: float, device: Device, threads: int
    ) -> None:
        self._session = make_session(spec.path, threads=threads, device=device)
        self._outputs = [f"{head}_{stride}" for head in YUNET_HEADS for stride in YUNET_STRIDES]
        missing = {*self._outputs} - {out.name for out in self._session.get_outputs()}
        if missing:
            raise UserError(f"{spec.path} is not a YuNet: it has no output {min(missing)}")
        graph_input = self._session.get_inputs()[0]
        self._input = graph_input.name
        height, width = graph_input.shape[2:4]
        self._fixed = (width, height) if isinstance(height, int) else None
        self._px = _resolve_px(spec, det_px, self._fixed)
        self._thresh = thresh

    def detect(self, image: Image) -> Detections:
        """Faces of an RGB image, see `Detections`."""
        height, width = image.shape[:2]
        scale = self._px / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas_width, canvas_height = self._fixed or (_up32(inner[0]), _up32(inner[1]))
        canvas = np.zeros((canvas_height, canvas_width, 3), dtype=np.float32)
        canvas[: inner[1], : inner[0]] = cv2.resize(image, inner)[:, :, ::-1]
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])
        maps = dict(
            zip(self._outputs, self._session.run(self._outputs, {self._input: blob}), strict=True)
        )
        found = _merge([self._decode(maps, stride, canvas_width) for stride in YUNET_STRIDES])
        # width and height were rounded on their own
        back = np.array([width / inner[0], height / inner[1]], dtype=np.float32)
        return Detections(found.boxes * np.tile(back, 2), found.scores, found.kps * back)

    def _decode(self, maps: dict[str, NDArray], stride: int, canvas_width: int) -> Detections:
        """One level: cells in row order, offsets in strides, sizes as logarithms."""
        cls, obj, box, kps = (maps[f"{head}_{stride}"][0] for head in YUNET_HEADS)
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        kept = np.flatnonzero(scores >= self._thresh)
        columns = canvas_width // stride
        cells = np.stack([kept % columns, kept // columns], axis=1).astype(np.float32)
        centres = (cells + box[kept, :2]) * stride
        halves = np.exp(box[kept, 2:]) * stride / 2
        points = (kps[kept].reshape(-1, 5, 2) + cells[:, None]) * stride
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
        return Detections(boxes, scores[kept], points)


def _merge(levels: list[Detections]) -> Detections:
    """All levels together, most certain first, overlapping ones suppressed."""
    boxes = np.concatenate([level.boxes for level in levels]).astype(np.float32)
    scores = np.concatenate([level.scores for level in levels]).astype(np.float32)
    kps = np.concatenate([level.kps for level in levels]).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    overlap = iou(boxes[order], boxes[order])
    alive = np.ones(len(order), dtype=bool)
    for first in range(len(order)):
        if alive[first]:
            alive[first + 1 :] &= overlap[first, first + 1 :] <= NMS_IOU
    kept = order[alive]
    return Detections(boxes[kept], scores[kept], kps[kept])


def _resolve_px(spec: ModelSpec, det_px: int | None, fixed: tuple[int, int] | None) -> int:
    """The detector's input side.

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


def _up32(side: int) -> int:
    return -(-side // 32) * 32
