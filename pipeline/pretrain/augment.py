"""Crops that differ each time: a random part, enlarged, and mirrored or not.

B crops; values 0..255, float32, channels first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from arpgnet.pipeline.common.params import PretrainParams

# width by height of the part, at most; its inverse at least
STRETCH = 4 / 3


def augment(crops: Tensor, params: PretrainParams, draws: torch.Generator) -> Tensor:
    """Cut a part out of each crop and enlarge it to the crop's size: float32 [B, 3, S, S].

    As MAE's random crop: the part's area is drawn evenly from `params.crop` to 1, its form
    logarithmically; it lies within the crop.

    Args:
        draws: on the crops' device.
    """
    count, device = len(crops), crops.device
    area, form, across, down, mirror = torch.rand(5, count, generator=draws, device=device)
    area = params.crop + (1 - params.crop) * area
    form = torch.exp((2 * form - 1) * math.log(STRETCH))
    width, height = (area * form).sqrt().clamp(max=1), (area / form).sqrt().clamp(max=1)
    if params.crop == 1:
        width = height = torch.ones_like(area)
    matrix = torch.zeros(count, 2, 3, device=device)
    # coordinates run from -1 to 1
    matrix[:, 0, 0] = torch.where(mirror < params.flip, -width, width)
    matrix[:, 1, 1] = height
    matrix[:, 0, 2] = (2 * across - 1) * (1 - width)
    matrix[:, 1, 2] = (2 * down - 1) * (1 - height)
    places = functional.affine_grid(matrix, list(crops.shape), align_corners=False)
    return functional.grid_sample(crops, places, padding_mode="border", align_corners=False)
