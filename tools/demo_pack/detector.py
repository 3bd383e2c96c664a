"""Training the SCRFD-form detector on recomposed stills.

Shape letters: B images, K anchors of one level, S pixels a side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tools.demo_pack import augment, geometry
from tools.demo_pack.anchors import LevelTargets, assign
from tools.demo_pack.geometry import Image
from tools.demo_pack.loop import fit, to_tensor
from tools.demo_pack.nets import DemoDetector, LevelOutput
from tools.demo_pack.stills import Stills

_SIDES = (128, 160, 192, 256)
# faces fill 12 to 95 % of the frame; a little beyond both ends is trained
_SMALLEST, _LARGEST = 0.10, 1.0
_MOSAIC, _ORIGINAL = 0.3, 0.15
_FOCUS = 2.0


@dataclass(frozen=True)
class DetectorBatch:
    """images `[B, 3, S, S]` and, per level, labels `[B, K]`, boxes, keypoints, sizes `[K]`."""

    images: Tensor
    levels: list[tuple[Tensor, Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Scene:
    """An image `[S, S, 3]` with all its faces: boxes `[G, 4]`, keypoints `[G, 5, 2]`."""

    image: Image
    boxes: NDArray[np.floating]
    keypoints: NDArray[np.floating]


def train_detector(
    stills: Stills, *, steps: int, batch: int, seed: int, report: Callable[[str], None]
) -> DemoDetector:
    """A detector trained for `steps` batches of `batch` scenes composed from `stills`."""
    torch.manual_seed(seed)
    net = DemoDetector()

    def loss(data: DetectorBatch, progress: float) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(data.images)
        return detection_loss(outputs, data.levels)

    fit(
        net,
        lambda rng: _make_batch(stills, batch, rng),
        loss,
        steps=steps,
        learning_rate=3e-3,
        seed=seed,
        report=report,
    )
    return net


def detection_loss(
    outputs: list[LevelOutput], levels: list[tuple[Tensor, Tensor, Tensor, Tensor]]
) -> Tensor:
    """Focal loss on the scores, GIoU on the boxes, smooth L1 on the keypoints.

    All three are sums over the three levels, divided by the number of positive anchors.
    Focal loss: Lin et al. 2017, arXiv:1708.02002. GIoU: Rezatofighi et al. 2019, arXiv:1902.09630.
    """
    positives = sum(int((labels == 1).sum()) for labels, *_ in levels)
    total = torch.zeros(())
    for output, (labels, boxes, keypoints, sizes) in zip(outputs, levels, strict=True):
        total = total + _focal_loss(output.logits.float()[..., 0], labels)
        found = labels == 1
        size = sizes.expand_as(labels)[found][:, None]
        total = total + 2.0 * (1 - _giou(output.boxes.float()[found], boxes[found])).sum()
        offset = (output.keypoints.float()[found] - keypoints[found]) / size
        total = total + 4.0 * functional.smooth_l1_loss(
            offset, torch.zeros_like(offset), reduction="sum", beta=0.05
        )
    return total / max(positives, 1)


def _focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over anchors that are not ignored; `[B, K]`, `[B, K]` -> scalar."""
    target = (labels == 1).float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrongness = (torch.sigmoid(logits) - target).abs() ** _FOCUS
    return (cross_entropy * wrongness * (labels >= 0)).sum()


def _giou(predicted: Tensor, target: Tensor) -> Tensor:
    """Generalized IoU of boxes given as distances from a common center; `[M, 4]` x 2 -> `[M]`."""
    inner, outer = torch.minimum(predicted, target), torch.maximum(predicted, target)
    overlap = (inner[:, :2] + inner[:, 2:]).clamp(min=0).prod(1)
    hull = (outer[:, :2] + outer[:, 2:]).clamp(min=1e-6).prod(1)
    areas = [(box[:, :2] + box[:, 2:]).clamp(min=0).prod(1) for box in (predicted, target)]
    union = (areas[0] + areas[1] - overlap).clamp(min=1e-6)
    return overlap / union - (hull - union) / hull


def _make_batch(stills: Stills, batch: int, rng: Generator) -> DetectorBatch:
    side = int(rng.choice(_SIDES))
    # a constant amount of work a step: fewer large images, more small ones
    count = max(1, round(batch * (192 / side) ** 2))
    scenes = [compose(stills, side, rng) for _ in range(count)]
    images = [augment.photometric(scene.image, rng) for scene in scenes]
    targets = [assign(scene.boxes, scene.keypoints, side, side) for scene in scenes]
    return DetectorBatch(to_tensor(images, std=128.0), collate_targets(targets))


def collate_targets(
    targets: list[list[LevelTargets]],
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per image and level -> per level: labels `[B, K]`, boxes `[B, K, 4]`, keypoints, sizes."""
    return [
        (
            torch.from_numpy(np.stack([level.labels for level in images])),
            torch.from_numpy(np.stack([level.boxes for level in images])),
            torch.from_numpy(np.stack([level.keypoints for level in images])),
            torch.from_numpy(images[0].sizes),
        )
        for images in zip(*targets, strict=True)
    ]


def compose(stills: Stills, side: int, rng: Generator) -> Scene:
    """A scene of `side` pixels: a whole still, a face placed anew, or four of them."""
    if rng.random() < _ORIGINAL:
        return _whole(stills, side, rng)
    if rng.random() < _MOSAIC:
        return _mosaic(stills, side, rng)
    return _placed(stills, side, rng)


def _whole(stills: Stills, side: int, rng: Generator) -> Scene:
    still = stills.draw(rng)
    scale = side / still.image.shape[1]
    image = geometry.resize(still.image, side, interpolation=cv2.INTER_AREA)
    return Scene(image, still.box[None] * scale, still.keypoints[None] * scale)


def _placed(stills: Stills, side: int, rng: Generator, smallest: float = _SMALLEST) -> Scene:
    """One still, scaled, turned and moved over a background without a face."""
    still = stills.draw(rng)
    box = still.box.astype(np.float64)
    extent = side * np.exp(rng.uniform(np.log(smallest), np.log(_LARGEST)))
    scale = extent / max(box[2] - box[0], box[3] - box[1])
    # up to an eighth of the face may leave the frame
    room = max(side - 0.75 * extent, 0.1 * side)
    target = side / 2 + rng.uniform(-0.5, 0.5, 2) * room
    matrix = geometry.about((box[:2] + box[2:]) / 2, target, scale=scale, degrees=rng.normal(0, 8))
    image = _background(stills, side, rng)
    _paste(image, still.image, matrix)
    moved = geometry.transformed_box(matrix, box, still.landmarks)
    return Scene(image, moved[None], geometry.apply(matrix, still.keypoints)[None])


def _paste(canvas: Image, still: Image, matrix: geometry.Matrix) -> None:
    side = len(canvas)
    inside = geometry.warp(np.full(still.shape[:2], 255, np.uint8), matrix, side) > 127
    if np.sqrt(np.linalg.det(matrix[:, :2])) < 0.5:
        # warpAffine samples four pixels only: shrink by area first, against aliasing
        still = geometry.resize(still, len(still) // 2, interpolation=cv2.INTER_AREA)
        matrix = np.column_stack([matrix[:, :2] * 2, matrix[:, 2]])
    canvas[inside] = geometry.warp(still, matrix, side)[inside]


def _background(stills: Stills, side: int, rng: Generator) -> Image:
    """A plain color, noise, or the faceless margin of another still enlarged to the frame."""
    kind = rng.random()
    if kind < 0.2:
        return np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    if kind < 0.4:
        coarse = rng.integers(0, 256, (int(rng.integers(2, 24)),) * 2 + (3,), dtype=np.uint8)
        return geometry.resize(coarse, side, interpolation=cv2.INTER_CUBIC)
    still = stills.draw(rng)
    image, box, frame = still.image, still.box, still.image.shape[0]
    margins = {"left": box[0], "top": box[1], "right": frame - box[2], "bottom": frame - box[3]}
    where = max(margins, key=lambda name: margins[name])
    width = int(margins[where])
    if width < 24:
        return np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    strip = {
        "left": image[:, :width],
        "top": image[:width],
        "right": image[:, frame - width :],
        "bottom": image[frame - width :],
    }[where]
    length = min(strip.shape[:2])
    row, column = (int(rng.integers(0, extent - length + 1)) for extent in strip.shape[:2])
    patch = strip[row : row + length, column : column + length]
    return geometry.resize(patch, side)


def _mosaic(stills: Stills, side: int, rng: Generator) -> Scene:
    """Four scenes in the quarters of one, some of them without a face."""
    half = side // 2
    image = np.empty((side, side, 3), np.uint8)
    boxes, keypoints = [np.zeros((0, 4))], [np.zeros((0, 5, 2))]
    for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
        if rng.random() < 0.4:
            image[y : y + half, x : x + half] = _background(stills, half, rng)
            continue
        tile = _placed(stills, half, rng, smallest=2 * _SMALLEST)
        image[y : y + half, x : x + half] = tile.image
        boxes.append(tile.boxes + np.array([x, y, x, y]))
        keypoints.append(tile.keypoints + np.array([x, y]))
    return Scene(image, np.concatenate(boxes), np.concatenate(keypoints))
