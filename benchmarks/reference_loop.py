"""Preprocessing as a user would write it: OpenCV, InsightFace's classes, one frame at a time.

    python benchmarks/reference_loop.py ASSETS OUT.npz [--tuned] [--clips 20]

With its default settings every ONNX Runtime session keeps a thread a core spinning for work, and
those of the sessions that do not run take the cores from the one that does. `--tuned` switches the
spinning off, which few people know of.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from insightface.app.common import Face
from insightface.model_zoo import SCRFD
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

DETECTOR = "weights/insightface/scrfd_2.5g_bnkps.onnx"
LANDMARKS = "weights/open/pfld_ghostnet_wflw98_112.onnx"
EMBEDDING = "weights/open/mobilefacenet_ms1m_112.onnx"


def session(path: Path, tuned: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if tuned:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def landmarks(pfld: onnxruntime.InferenceSession, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """98 points in image pixels, from the tight square round the box."""
    side = max(box[2] - box[0], box[3] - box[1])
    zoom = 112 / side
    center = (box[:2] + box[2:]) / 2
    matrix = np.array([[zoom, 0, 56 - zoom * center[0]], [0, zoom, 56 - zoom * center[1]]])
    crop = cv2.warpAffine(frame, matrix, (112, 112))
    model_input = cv2.dnn.blobFromImage(crop, 1 / 255, swapRB=True)
    points = pfld.run(None, {pfld.get_inputs()[0].name: model_input})[0].reshape(98, 2) * 112
    return (points - 56) / zoom + center


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--clips", type=int, default=20)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    detector = SCRFD(
        str(args.assets / DETECTOR), session=session(args.assets / DETECTOR, args.tuned)
    )
    detector.prepare(ctx_id=-1, det_thresh=0.5)
    pfld = session(args.assets / LANDMARKS, args.tuned)
    arcface = ArcFaceONNX(
        str(args.assets / EMBEDDING), session=session(args.assets / EMBEDDING, args.tuned)
    )
    rows = []
    start = time.perf_counter()
    for path in sorted((args.assets / "clips/asl").glob("*.mkv"))[: args.clips]:
        video = cv2.VideoCapture(str(path))
        number = 0
        while True:
            there, frame = video.read()
            if not there:
                break
            boxes, points = detector.detect(frame, input_size=(640, 640))
            if len(boxes):
                area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
                largest = int(area.argmax())
                box, five = boxes[largest, :4], points[largest]
                face = Face(bbox=box, kps=five, det_score=boxes[largest, 4])
                embedding = arcface.get(frame, face)
                rows.append((path.stem, number, box, landmarks(pfld, frame, box), embedding))
            else:
                rows.append((path.stem, number, np.zeros(4), np.zeros((98, 2)), np.zeros(128)))
            number += 1
    seconds = time.perf_counter() - start
    names, numbers, boxes, points, embeddings = zip(*rows, strict=True)
    np.savez(
        args.out,
        seconds=seconds,
        clip=np.array(names),
        frame=np.array(numbers),
        box=np.stack(boxes),
        points=np.stack(points),
        embedding=np.stack(embeddings),
    )


if __name__ == "__main__":
    main()
