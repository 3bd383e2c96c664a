"""Where a frame's time goes, step by step, on one core without workers; and its lower bounds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import onnx
import torch
from common import table
from multiply_adds import multiply_adds, peak

from arpgnet.pipeline.common.params import AlignParams, DecodeParams
from arpgnet.pipeline.geometry.alignment import context, similarity, warp
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.detector import Detections, make_detector
from arpgnet.pipeline.networks.follower import Follower
from arpgnet.pipeline.networks.image_network import resolve_precision
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.video.container import Upright, open_video
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg

T = TypeVar("T")


class Clock:
    """CPU seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def time(self, step: str, run: Callable[..., T], *inputs: Any) -> T:
        start = time.process_time()
        result = run(*inputs)
        self.seconds[step] += time.process_time() - start
        self.calls[step] += 1
        return result


class Looks:
    """A detector whose looks are timed and whose pixels are counted."""

    def __init__(self, detector: Any, clock: Clock) -> None:
        self._detector = detector
        self._clock = clock
        self.any_sides = detector.any_sides
        self.scale = detector.scale
        self.pixels = 0

    def detect(self, image: np.ndarray) -> Detections:
        height, width = (round(side * self.scale(image)) for side in image.shape[:2])
        self.pixels += height * width
        return self._clock.time("detection network", self._detector.detect, image)

    def look(self, part: np.ndarray) -> Detections:
        self.pixels += part.shape[0] * part.shape[1]
        return self._clock.time("detection network", self._detector.look, part)


def step_table(assets: Path, pack_folder: Path, clips: int = 10) -> str:
    """Milliseconds a frame, share, and distance from the bound of the multiply-adds."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    clock = Clock()
    pack = load_pack(str(pack_folder))
    align = AlignParams()
    precision = resolve_precision("auto", "cpu")
    detector = make_detector(
        pack.models["detector"], det_px=None, thresh=align.det_thresh, device="cpu"
    )
    looks = Looks(detector, clock)
    landmarks = LandmarkNetwork(pack.models["landmark"])
    appearance = AppearanceNetwork(pack.models["embedding"], batch=16, precision=precision)
    frames, side = 0, pack.models["embedding"].input_px
    for path in sorted((assets / "clips/asl").glob("*.mkv"))[:clips]:
        jpegs = list(_decoded(path, clock))
        frames += len(jpegs)
        follower = Follower(
            looks, align.pad_retry, align.full_every, align.max_interpolation_s, align.first_scale
        )
        images = (
            (seconds, clock.time("JPEG decoding", decode_jpeg, jpeg)) for seconds, jpeg in jpegs
        )
        crops, contexts, boxes = [], [], []
        for image, found in follower.follow(images):
            if len(found):
                boxes.append(found.boxes[0])
                crop, square = clock.time("crop and context", _cut, image, found, side)
                crops.append(crop)
                contexts.append(square)
        squares = clock.time("crop and context", _uncovered, contexts)
        clock.time("landmark network", landmarks.locate, squares, np.stack(boxes))
        clock.time("appearance network", appearance.describe, np.stack(crops))
    return _lines(clock, frames, _bounds(pack.models, looks.pixels / frames, precision))


def _cut(image: np.ndarray, found: Detections, side: int) -> tuple[np.ndarray, bytes]:
    """The first face's crop, and its context as it is kept."""
    matrix = similarity(found.kps[0])
    assert matrix is not None
    return warp(image, matrix, side), encode_jpeg(context(image, found.boxes[0]), 95)


def _uncovered(contexts: list[bytes]) -> np.ndarray:
    return np.stack([decode_jpeg(jpeg) for jpeg in contexts])


def _decoded(path: Path, clock: Clock) -> Iterator[tuple[float, bytes]]:
    with open_video(path) as (container, stream):
        upright = Upright()
        frames = iter(container.decode(stream))
        quality = DecodeParams().jpeg_quality
        while (frame := clock.time("video decoding", next, frames, None)) is not None:
            image = clock.time("to RGB", upright.image, frame)
            jpeg = clock.time("JPEG encoding", encode_jpeg, image, quality)
            yield float(frame.pts * frame.time_base), jpeg


def _bounds(models: Any, looked_at: float, precision: str) -> dict[str, tuple[float, float, str]]:
    """Of each network: millions of multiply-adds a frame, and how many ms they take at least."""
    single, half = peak(torch.float32), peak(torch.bfloat16)
    graphs = {
        "detection network": ("detector", None, single, "fp32"),
        "landmark network": ("landmark", 112, single, "fp32"),
        "appearance network": (
            "embedding", 112, half if precision == "bf16" else single, precision
        ),
    }  # fmt: skip
    bounds = {}
    for step, (role, side, rate, kind) in graphs.items():
        model = onnx.load(str(models[role].path))
        count = (
            multiply_adds(model, side, side)
            if side
            # a fully convolutional network: in proportion to what it looks at
            else multiply_adds(model, 640, 640) * looked_at / 640**2
        )
        bounds[step] = (count / 1e6, 1e3 * count / rate, f"{rate / 1e9:.0f} G/s {kind}")
    return bounds


def _lines(clock: Clock, frames: int, bounds: dict[str, tuple[float, float, str]]) -> str:
    total = sum(clock.seconds.values())
    rows = []
    for step, seconds in clock.seconds.items():
        ms = 1e3 * seconds / frames
        million, least, rate = bounds.get(step, (0.0, 0.0, ""))
        rows.append(
            [
                step,
                f"{ms:.2f}",
                f"{100 * seconds / total:.0f} %",
                f"{million:.0f}" if million else "",
                f"{least:.2f} ({rate})" if million else "",
                f"{ms / least:.1f}" if million else "",
            ]
        )
    looks = clock.calls["detection network"]
    return (
        "Steps on one core, without store, shards and processes (CPU time; "
        f"{frames} frames, {looks} looks of the detector):\n\n"
        + table(
            ["step", "ms a frame", "share", "million multiply-adds a frame",
             "bound, ms (one core's matrix product)", "times the bound"],
            rows,
        )
    )  # fmt: skip
