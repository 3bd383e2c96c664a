"""How many rendered faces real detectors find: `python -m tools.detector_rates`.

YuNet and SCRFD were trained on photographs (WIDER FACE). That they find our faces, and put their
five points where ours are, is the evidence that a pipeline tried on the demo will run on video.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from arpgnet.pipeline.demo.arrays import Floats, Image
from arpgnet.pipeline.demo.clip import render_clip
from arpgnet.pipeline.demo.frame import RenderedFrame
from arpgnet.pipeline.demo.prototypes import CLASSES
from arpgnet.pipeline.demo.subject import SUBJECT_SEEDS_DEMO

YUNET = "open/yunet_n_dynamic.onnx"
SCRFD = "insightface/scrfd_2.5g_bnkps.onnx"
_IOU, _SCORE = 0.5, 0.5

# an image (BGR) -> boxes [F, 4] and five points [F, 5, 2], best face first
Detector = Callable[[Image], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Rate:
    """What one detector did on all frames."""

    detector: str
    frames: int
    found: int
    point_error: float  # median over found faces and points, share of the interocular distance


def yunet(path: Path) -> Detector:
    """YuNet through OpenCV's own wrapper."""
    net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _SCORE)

    def detect(image: Image) -> tuple[Floats, Floats]:
        net.setInputSize(image.shape[1::-1])
        _, faces = net.detect(image)
        if faces is None:
            return np.zeros((0, 4)), np.zeros((0, 5, 2))
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        return boxes, faces[:, 4:14].reshape(-1, 5, 2)

    return detect


def scrfd(path: Path) -> Detector:
    """SCRFD through insightface, at its usual 640 x 640."""
    from insightface.model_zoo import scrfd as insight_scrfd

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    net = insight_scrfd.SCRFD(str(path), session=session)
    net.prepare(-1, input_size=(640, 640), det_thresh=_SCORE)

    def detect(image: Image) -> tuple[Floats, Floats]:
        faces, points = net.detect(image)
        return faces[:, :4], points

    return detect


def find(detect: Detector, frame: RenderedFrame) -> tuple[Floats, Floats] | None:
    """Box [4] and points [5, 2] of the face, or None; a miss is tried again with a wide border.

    A face that fills the image is larger than detectors expect, hence the border of 50 %.
    """
    image = np.ascontiguousarray(frame.image[..., ::-1])
    for border in (0, image.shape[0] // 2):
        edges = ((border, border), (border, border), (0, 0))
        padded = np.pad(image, edges)
        boxes, points = detect(padded)
        overlaps = [iou(box - border, frame.bbox) for box in boxes]
        if overlaps and max(overlaps) >= _IOU:
            best = int(np.argmax(overlaps))
            return boxes[best] - border, points[best] - border
    return None


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes x0 y0 x1 y1."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(wide)) * max(0.0, float(tall))
    areas = [float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)]
    return shared / (sum(areas) - shared)


def sample_frames(subjects: int, *, frame_px: int, fps: float) -> list[RenderedFrame]:
    """Two frames, early and late, of one clip of each class of each subject."""
    frames = []
    for seed in SUBJECT_SEEDS_DEMO[:subjects]:
        for label in CLASSES:
            clip = render_clip(seed, label, seed, frame_px=frame_px, fps=fps)
            frames += [clip[len(clip) // 4], clip[3 * len(clip) // 4]]
    return frames


def measure(name: str, detect: Detector, frames: list[RenderedFrame]) -> Rate:
    """Runs a detector over frames."""
    errors: list[Floats] = []
    for frame in frames:
        found = find(detect, frame)
        if found is not None:
            apart = np.linalg.norm(frame.keypoints[1] - frame.keypoints[0])
            errors.append(np.linalg.norm(found[1] - frame.keypoints, axis=1) / apart)
    median = float(np.median(np.concatenate(errors))) if errors else float("nan")
    return Rate(name, len(frames), len(errors), median)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help=f"folder with {YUNET}, {SCRFD}")
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--frame-px", type=int, default=256)
    arguments = parser.parse_args()
    frames = sample_frames(arguments.subjects, frame_px=arguments.frame_px, fps=20.0)
    print("| detector | frames | found (IoU >= 0.5) | median 5-point error, % of interocular |")
    print("|---|---|---|---|")
    for name, make, file in (("YuNet", yunet, YUNET), ("SCRFD-2.5G", scrfd, SCRFD)):
        rate = measure(name, make(arguments.weights / file), frames)
        share = 100.0 * rate.found / rate.frames
        print(
            f"| {rate.detector} | {rate.frames} | {rate.found} ({share:.1f} %) "
            f"| {100.0 * rate.point_error:.1f} |"
        )


if __name__ == "__main__":
    main()
