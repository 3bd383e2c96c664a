"""Three small networks of the `demo` face pack: detector, landmarks, embedding.

Their ONNX exports take and give what InsightFace's SCRFD, 2d106det and ArcFace models take and
give, so that `insightface.model_zoo` loads them unchanged.

Shape letters: B images, C channels, H and W pixels, K anchors of one pyramid level,
P landmarks, D embedding width. Images are RGB float32.

References:
  SCRFD (anchors, strides, distance outputs): Guo et al., ICLR 2022, arXiv:2105.04714
  depthwise-separable convolution: Howard et al., MobileNets, arXiv:1704.04861
  global depthwise convolution: Chen et al., MobileFaceNets, arXiv:1804.07573
  spatial softmax (point = expected position under a heat map): Finn et al., arXiv:1509.06113
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
ANCHORS_PER_CELL = 2
KEYPOINTS = 5


class ConvUnit(nn.Sequential):
    """Convolution, batch norm and, where `activate`, ReLU. `[B, C, H, W] -> [B, out, H/s, W/s]`."""

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out),
        ]
        if activate:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Separable(nn.Sequential):
    """Depthwise 3x3 then pointwise 1x1. `[B, C, H, W] -> [B, out, H/s, W/s]`."""

    def __init__(self, channels: int, out: int, *, stride: int = 1) -> None:
        super().__init__(
            ConvUnit(channels, channels, stride=stride, groups=channels),
            ConvUnit(channels, out, kernel=1),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip connection. `[B, C, H, W] -> [B, C, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = ConvUnit(channels, channels, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class LevelOutput(NamedTuple):
    """One pyramid level of the detector; K = H/stride * W/stride * ANCHORS_PER_CELL.

    logits `[B, K, 1]`; boxes `[B, K, 4]` (left, top, right, bottom) and keypoints `[B, K, 10]`
    (x, y of five points) are distances from the anchor's center in strides.
    """

    logits: Tensor
    boxes: Tensor
    keypoints: Tensor


class DetectorHead(nn.Module):
    """The prediction head of one level: `[B, C, h, w] -> LevelOutput`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        scores = nn.Conv2d(channels, ANCHORS_PER_CELL, 1)
        # a prior of 1 % faces keeps the first steps from drowning in background (focal loss paper)
        scores.bias = nn.Parameter(torch.full((ANCHORS_PER_CELL,), -4.6))
        self.classify = nn.Sequential(Separable(channels, channels), scores)
        # the keypoints decide the alignment of everything that follows: twice the width
        self.locate = nn.Sequential(
            Separable(channels, channels * 2), Separable(channels * 2, channels * 2)
        )
        self.boxes = nn.Conv2d(channels * 2, ANCHORS_PER_CELL * 4, 1)
        self.keypoints = nn.Conv2d(channels * 2, ANCHORS_PER_CELL * KEYPOINTS * 2, 1)

    def forward(self, x: Tensor) -> LevelOutput:
        located = self.locate(x)
        return LevelOutput(
            _anchor_rows(self.classify(x), 1),
            _anchor_rows(self.boxes(located), 4),
            _anchor_rows(self.keypoints(located), KEYPOINTS * 2),
        )


def _anchor_rows(x: Tensor, width: int) -> Tensor:
    """`[B, A * width, h, w] -> [B, h * w * A, width]`, in SCRFD's row order."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)


class DemoDetector(nn.Module):
    """Anchor-based face detector with five keypoints, strides 8, 16 and 32.

    Shapes: image `[B, 3, H, W]`, H and W multiples of 32, normalized as (x - 127.5) / 128
    -> three `LevelOutput`s.
    """

    def __init__(self, *, channels: int = 40) -> None:
        super().__init__()
        self.stem = ConvUnit(3, 24, kernel=7, stride=4)
        self.level8 = nn.Sequential(ConvUnit(24, 48, stride=2), Residual(48))
        self.level16 = nn.Sequential(ConvUnit(48, 64, stride=2), Residual(64))
        self.level32 = nn.Sequential(
            ConvUnit(64, 96, stride=2), Separable(96, 96), Separable(96, 96)
        )
        self.laterals = nn.ModuleList(ConvUnit(c, channels, kernel=1) for c in (48, 64, 96))
        self.heads = nn.ModuleList(DetectorHead(channels) for _ in STRIDES)

    def forward(self, image: Tensor) -> list[LevelOutput]:
        c8 = self.level8(self.stem(image))
        c16 = self.level16(c8)
        c32 = self.level32(c16)
        p8, p16, p32 = (
            lateral(c) for lateral, c in zip(self.laterals, (c8, c16, c32), strict=True)
        )
        p16 = p16 + functional.interpolate(p32, scale_factor=2.0, mode="nearest")
        p8 = p8 + functional.interpolate(p16, scale_factor=2.0, mode="nearest")
        return [head(p) for head, p in zip(self.heads, (p8, p16, p32), strict=True)]


class ScrfdForm(nn.Module):
    """A detector with SCRFD's nine outputs for one image.

    Shapes: image `[1, 3, H, W]` -> scores `[K, 1]` x 3 (sigmoid), boxes `[K, 4]` x 3,
    keypoints `[K, 10]` x 3, each for strides 8, 16, 32.
    """

    def __init__(self, detector: DemoDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels = self.detector(image)
        return (
            *(torch.sigmoid(level.logits).reshape(-1, 1) for level in levels),
            *(level.boxes.reshape(-1, 4) for level in levels),
            *(level.keypoints.reshape(-1, KEYPOINTS * 2) for level in levels),
        )


class DemoLandmarks(nn.Module):
    """106-point regression on a box-centered crop.

    Shapes: crop `[B, 3, 192, 192]`, normalized as (x - 127.5) / 128 -> `[B, P * 2]`,
    x and y interleaved, -1 and 1 at the crop's borders.
    """

    GRID = 6

    def __init__(self, *, points: int = 106, reduced: int = 32) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            ConvUnit(3, 32, kernel=7, stride=4),
            ConvUnit(32, 48, stride=2),
            Residual(48),
            ConvUnit(48, 80, stride=2),
            Residual(80),
            ConvUnit(80, 96, stride=2),
            Residual(96),
            ConvUnit(96, reduced, kernel=1),
        )
        self.points = nn.Linear(reduced * self.GRID**2, points * 2)

    def forward(self, crop: Tensor) -> Tensor:
        # over the cells: else Adam's equal step on each of 1152 weights moves a point by pixels
        return self.points(self.trunk(crop).flatten(1) / self.GRID**2)


class DemoEmbedding(nn.Module):
    """Face embedding whose last feature map keeps expression and position.

    Shapes: crop `[B, 3, 112, 112]`, normalized as (x - 127.5) / 127.5
    -> embedding `[B, D]` (not normalized), feature map `[B, C, 7, 7]`.
    """

    GRID = 7

    def __init__(self, *, dim: int = 128, channels: int = 96) -> None:
        super().__init__()
        self.dim, self.channels = dim, channels
        self.trunk = nn.Sequential(
            ConvUnit(3, 16, stride=2),
            ConvUnit(16, 32, stride=2),
            Residual(32),
            ConvUnit(32, 64, stride=2),
            Residual(64),
            ConvUnit(64, channels, stride=2),
            Residual(channels),
        )
        self.pool = nn.Sequential(
            nn.Conv2d(channels, channels, self.GRID, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.embed = nn.Sequential(nn.Linear(channels, dim, bias=False), nn.BatchNorm1d(dim))

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.trunk(crop)
        return self.embed(self.pool(feature_map).flatten(1)), feature_map
