"""IResNet-18, 34, 50 and 100: the face recognition networks of InsightFace.

The names of the state dict are those of InsightFace's PyTorch checkpoints (arcface_torch's
`backbone.pth`, `glint360k_cosface_r50.pth`, ...), which therefore load with `strict=True`.

Shape letters: B crops, C channels, D embedding width. Crops are 112 x 112, normalized as
(x - 127.5) / 127.5.

References:
  the network and its names: deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py
  the block (batch norm first, PReLU): Han, Kim and Kim, Deep Pyramidal Residual Networks,
    CVPR 2017, arXiv:1610.02915; Duta et al., Improved Residual Networks, ICPR 2020,
    arXiv:2004.04989
  the output E (BN, dropout, FC, BN): Deng et al., ArcFace, CVPR 2019, arXiv:1801.07698
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# blocks of the four stages
DEPTHS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
}
WIDTHS = (64, 128, 256, 512)
CROP_PX = 112
MAP_CELLS = 7  # 112 pixels, halved by each of the four stages


class IBasicBlock(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3, BN, and a skip. `[B, C, H, W] -> [B, width, H/s, W/s]`."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """See `iresnet`.

    Args:
        depths: blocks of each stage.
        dim: D.
        dropout: before the fully connected layer; in training only.

    Shapes: `[B, 3, 112, 112]` float -> embedding `[B, D]`, not normalized, and the last feature
    map `[B, 512, 7, 7]`, after its batch norm.
    """

    def __init__(
        self, depths: tuple[int, int, int, int], *, dim: int = 512, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS[:-1])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(channels, width, blocks)
            for channels, width, blocks in zip(before, WIDTHS, depths, strict=True)
        )
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[-1] * MAP_CELLS**2, dim)
        self.features = nn.BatchNorm1d(dim)
        # ArcFace reads angles: a scale of its own for each number would distort them
        self.features.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        x = self.prelu(self.bn1(self.conv1(crop)))  # [B, 64, 112, 112]
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        feature_map = self.bn2(x)  # [B, 512, 7, 7]
        flat = self.dropout(torch.flatten(feature_map, 1))
        return self.features(self.fc(flat)), feature_map


def iresnet(name: str, *, dim: int = 512, dropout: float = 0.0) -> IResNet:
    """A freshly initialized network by its name in `DEPTHS`.

    Raises:
        KeyError: no such network.
    """
    return IResNet(DEPTHS[name], dim=dim, dropout=dropout)


def _stage(channels: int, width: int, blocks: int) -> nn.Sequential:
    first = IBasicBlock(channels, width, 2)
    return nn.Sequential(first, *(IBasicBlock(width, width, 1) for _ in range(blocks - 1)))
