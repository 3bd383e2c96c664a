"""MobileFaceNet: the small face recognition networks of InsightFace and of foamliu.

The names of the state dict are those of the makers' PyTorch checkpoints, which therefore load
with `strict=True`. The two share the idea and little else: InsightFace's has PReLU and twice the
paper's width, foamliu's is a MobileNetV2 with ReLU6.

Shape letters: B crops, C channels, D embedding width. Crops are 112 x 112; the first is fed
(x - 127.5) / 127.5, the second ImageNet's mean and deviation.

References:
  the architecture: Chen et al., MobileFaceNets, CCBR 2018, arXiv:1804.07573
  `mobilefacenet` (w600k_mbf): deepinsight/insightface,
    recognition/arcface_torch/backbones/mobilefacenet.py, get_mbf
  `mobilefacenet_foamliu` (the pack `open`): foamliu/MobileFaceNet, mobilefacenet.py
"""

from __future__ import annotations

from torch import Tensor, nn

MAP_CHANNELS = 512


class ConvBlock(nn.Module):
    """Convolution, batch norm and, where `activate`, PReLU. `[B, C, H, W] -> [B, out, H/s, W/s]`.

    A kernel of 3 keeps the border, others do not.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        border = 1 if kernel == 3 else 0
        layers: list[nn.Module] = [
            nn.Conv2d(channels, out, kernel, stride, border, groups=groups, bias=False),
            nn.BatchNorm2d(out),
        ]
        if activate:
            layers.append(nn.PReLU(out))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DepthWise(nn.Module):
    """Widen, 3x3 per channel, narrow. `[B, C, H, W] -> [B, out, H/s, W/s]`."""

    def __init__(
        self, channels: int, out: int, *, inner: int, stride: int = 2, residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(channels, inner),
            ConvBlock(inner, inner, kernel=3, stride=stride, groups=inner),
            ConvBlock(inner, out, activate=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class Residual(nn.Module):
    """`blocks` times `DepthWise` with a skip. `[B, C, H, W] -> [B, C, H, W]`."""

    def __init__(self, channels: int, blocks: int, *, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                DepthWise(channels, channels, inner=inner, stride=1, residual=True)
                for _ in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GlobalDepthwise(nn.Module):
    """A weight for each cell of each channel, then a matrix. `[B, 512, 7, 7] -> [B, D]`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(MAP_CHANNELS, MAP_CHANNELS, kernel=7, groups=MAP_CHANNELS, activate=False),
            nn.Flatten(),
            nn.Linear(MAP_CHANNELS, dim, bias=False),
            nn.BatchNorm1d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MobileFaceNet(nn.Module):
    """InsightFace's, with the widths and depths of w600k_mbf.

    Shapes: `[B, 3, 112, 112]` float -> embedding `[B, D]`, not normalized, and the last feature
    map `[B, 512, 7, 7]`.
    """

    def __init__(self, *, dim: int = 512, blocks: tuple[int, int, int] = (4, 6, 2)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, 128, kernel=3, stride=2),
                ConvBlock(128, 128, kernel=3, groups=64),
                DepthWise(128, 128, inner=128),
                Residual(128, blocks[0], inner=128),
                DepthWise(128, 256, inner=256),
                Residual(256, blocks[1], inner=256),
                DepthWise(256, 256, inner=512),
                Residual(256, blocks[2], inner=256),
            ]
        )
        self.conv_sep = ConvBlock(256, MAP_CHANNELS)
        self.features = GlobalDepthwise(dim)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        x = crop
        for layer in self.layers:
            x = layer(x)
        feature_map = self.conv_sep(x)  # [B, 512, 7, 7]
        return self.features(feature_map), feature_map


# widening, channels, blocks, stride of the first
_FOAMLIU = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class FoamliuMobileFaceNet(nn.Module):
    """foamliu's; shapes as `MobileFaceNet`'s, D = 128."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _relu6(3, 64, 3, stride=2)
        self.dw_conv = _Separable(64)
        channels, blocks = 64, []
        for widening, out, count, stride in _FOAMLIU:
            for place in range(count):
                step = 1 if place else stride
                blocks.append(_Inverted(channels, out, inner=widening * channels, stride=step))
                channels = out
        self.features = nn.Sequential(*blocks)
        self.conv2 = _relu6(channels, MAP_CHANNELS, 1)
        self.gdconv = _Global()
        self.conv3 = nn.Conv2d(MAP_CHANNELS, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.conv2(self.features(self.dw_conv(self.conv1(crop))))  # [B, 512, 7, 7]
        return self.bn(self.conv3(self.gdconv(feature_map))).flatten(1), feature_map


def _relu6(channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(inplace=True),
    )


class _Separable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.depthwise(x)).relu()
        return self.bn2(self.pointwise(x)).relu()


class _Inverted(nn.Module):
    def __init__(self, channels: int, out: int, *, inner: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and channels == out
        self.conv = nn.Sequential(
            _relu6(channels, inner, 1),
            _relu6(inner, inner, 3, stride=stride, groups=inner),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self.residual else y


class _Global(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(MAP_CHANNELS, MAP_CHANNELS, 7, groups=MAP_CHANNELS, bias=False)
        self.bn = nn.BatchNorm2d(MAP_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.depthwise(x))
