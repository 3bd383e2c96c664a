"""Some crops as the autoencoder sees and draws them, for the report.

K examples, S pixels of a side, N patches.
"""

from __future__ import annotations

import numpy as np
import torch

from arpgnet.models.masked_autoencoder import (
    MaskedAutoencoder,
    normalized_patches,
    patchify,
    unpatchify,
)
from arpgnet.pipeline.networks.preprocessing import Normalization

COUNT = 8
GRAY = 127.5
GAP_PX = 4
WHITE = 255


@torch.inference_mode()
def draw_examples(
    network: MaskedAutoencoder, crops: np.ndarray, fed: Normalization, seed: int
) -> np.ndarray:
    """Return originals, what is seen of them, and drawings: uint8 [K, 3, S, S, 3].

    The loss leaves the mean and spread of each patch open; here they are the original's, as in
    MAE's own figures. Visible patches are the original.

    Args:
        crops: uint8 [N, S, S, 3]; K of them, evenly spaced, are drawn.
    """
    network.eval()
    device, patch_px = network.pos_embed.device, network.shape.patch_px
    rows = np.unique(np.linspace(0, len(crops) - 1, COUNT).round().astype(int))
    images = torch.from_numpy(crops[rows]).permute(0, 3, 1, 2).float().to(device)
    draws = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(rows), network.grid**2, generator=draws).to(device)
    mean, std = (torch.tensor(v, device=device).reshape(1, 3, 1, 1) for v in (fed.mean, fed.std))
    normalized = (images - mean) / std
    predicted, mask = network(normalized, noise)
    _, level, spread = normalized_patches(normalized, patch_px)
    drawn = patchify(unpatchify(predicted.float() * spread + level) * std + mean, patch_px)
    original, hidden = patchify(images, patch_px), mask[:, :, None].bool()
    seen = torch.where(hidden, GRAY, original)
    drawn = torch.where(hidden, drawn, original)
    stacked = torch.stack([unpatchify(patches) for patches in (original, seen, drawn)], dim=1)
    rounded = stacked.clamp(0, 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 1, 3, 4, 2).cpu().numpy())


def sheet(examples: np.ndarray) -> np.ndarray:
    """Put examples side by side, each a column of original, what is seen, and drawing.

    uint8 [K, 3, S, S, 3] -> uint8 [3 * S + 2 gaps, K * S + gaps, 3]
    """
    spaced = np.pad(examples, ((0, 0), (0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)),
                    constant_values=WHITE)  # fmt: skip
    count, rows, height, width, _ = spaced.shape
    grid = spaced.transpose(1, 2, 0, 3, 4).reshape(rows * height, count * width, 3)
    return grid[:-GAP_PX, :-GAP_PX]
