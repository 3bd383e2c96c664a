"""Images that differ from epoch to epoch: mirrored, shifted, scaled, tinted, partly hidden.

B crops; values 0..255, float32, channels first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from arpgnet.pipeline.common.params import FinetuneParams

GRAY = 127.5
# sides of an erased rectangle as a fraction of the crop's (Zhong et al., AAAI 2020,
# arXiv:1708.04896)
ERASED = (0.15, 0.4)


def augments(params: FinetuneParams) -> bool:
    """Check whether any augmentation is on."""
    return any((params.flip, params.crop, params.color, params.erase))


def augment(crops: Tensor, params: FinetuneParams, draws: torch.Generator) -> Tensor:
    """Augment float32 [B, 3, S, S] in 0..255; shape and range stay the same.

    Args:
        draws: on the crops' device.
    """

    def uniform(*shape: int) -> Tensor:
        """Draw from -1 to 1."""
        return torch.rand(shape, generator=draws, device=crops.device) * 2 - 1

    if not augments(params):
        return crops
    count, _, side, _ = crops.shape
    mirrored = torch.rand(count, generator=draws, device=crops.device) < params.flip
    matrix = torch.zeros(count, 2, 3, device=crops.device)
    zoom = 1 + params.crop * uniform(count)
    matrix[:, 0, 0] = torch.where(mirrored, -zoom, zoom)
    matrix[:, 1, 1] = zoom
    # coordinates run from -1 to 1: twice the part of the crop
    matrix[:, :, 2] = 2 * params.crop * uniform(count, 2)
    places = F.affine_grid(matrix, list(crops.shape), align_corners=False)
    crops = F.grid_sample(crops, places, padding_mode="zeros", align_corners=False)
    if params.color:
        brightness, contrast, saturation = (
            1 + params.color * uniform(count, 1, 1, 1) for _ in "123"
        )
        crops = crops * brightness
        level = crops.mean((1, 2, 3), keepdim=True)
        crops = (crops - level) * contrast + level
        gray = crops.mean(1, keepdim=True)
        crops = ((crops - gray) * saturation + gray).clamp(0, 255)
    if params.erase:
        erased = _rectangles(count, side, params.erase, draws, crops.device)
        crops = torch.where(erased[:, None], GRAY, crops)
    return crops


def _rectangles(
    count: int, side: int, probability: float, draws: torch.Generator, device: torch.device
) -> Tensor:
    """Return what is hidden, bool [B, S, S]."""
    drawn = torch.rand(5, count, 1, generator=draws, device=device)
    low, high = ERASED
    pixels = torch.arange(side, device=device)[None]

    def inside(length: Tensor, place: Tensor) -> Tensor:
        length = (low + (high - low) * length) * side
        start = place * (side - length)
        return (pixels >= start) & (pixels < start + length)  # [B, S]

    rows, columns = inside(drawn[0], drawn[1]), inside(drawn[2], drawn[3])
    chosen = drawn[4] < probability
    return rows[:, :, None] & columns[:, None, :] & chosen[:, :, None]
