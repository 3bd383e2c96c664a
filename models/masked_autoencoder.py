"""A masked autoencoder: a vision transformer that learns from images without labels.

Three quarters of the patches are hidden; the encoder sees the others alone, and a smaller decoder
draws the hidden ones. The decoder is discarded after training.

The names of the state dict are those of MAE's full checkpoints: the encoder's are those of
`models.vit`, which are timm's too.

Shape letters: B crops, N patches, n visible patches, D width, E width of the decoder, S pixels of
a side, P pixels of a patch.

References:
  He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv:2111.06377; names,
    order of operations and first weights: facebookresearch/mae, models_mae.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arpgnet.models.vit import Block, VisionTransformer, VitShape

EPS = 1e-6


@dataclass(frozen=True)
class DecoderShape:
    """The measures of a decoder."""

    dim: int
    depth: int
    heads: int


class MaskedAutoencoder(VisionTransformer):
    """See the module's docstring.

    Shapes: crops `[B, 3, S, S]` float and noise `[B, N]` -> the pixels of every patch
    `[B, N, P * P * 3]`, as `patchify` has them, and the mask `[B, N]`: 1 where a patch was hidden.

    Args:
        shape: of the encoder, which has no norm before its blocks.
        mask_ratio: the fraction of the patches that is hidden, rounded up.
    """

    def __init__(self, shape: VitShape, decoder: DecoderShape, *, mask_ratio: float = 0.75) -> None:
        super().__init__(shape)
        self.visible = int(self.grid**2 * (1 - mask_ratio))
        self.decoder_embed = nn.Linear(shape.dim, decoder.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.dim))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, decoder.dim))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder.dim, decoder.heads, eps=EPS) for _ in range(decoder.depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder.dim, eps=EPS)
        self.decoder_pred = nn.Linear(decoder.dim, shape.patch_px**2 * 3)
        self.reset()

    def reset(self) -> None:
        """Draw the first weights as MAE does; positions are sines and cosines, and stay so."""
        for positions in (self.pos_embed, self.decoder_pos_embed):
            fixed = sine_positions(self.grid, positions.shape[2])
            positions.requires_grad_(False).copy_(fixed)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(len(weight), -1))
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, crop: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if noise is None:
            noise = torch.rand(len(crop), self.grid**2, device=crop.device)
        order = noise.argsort(dim=1, stable=True)
        place = order.argsort(dim=1)  # of each patch in that order
        patches = self.patches(crop)
        kept = order[:, : self.visible, None].expand(-1, -1, patches.shape[2])
        tokens = self.encode(patches.gather(1, kept))
        return self.decode(tokens, place), (place >= self.visible).to(crop.dtype)

    def decode(self, tokens: Tensor, place: Tensor) -> Tensor:
        """Draw all patches. `[B, 1 + n, D]`, `[B, N]` -> `[B, N, P * P * 3]`.

        Args:
            tokens: of the class token and the visible patches.
            place: of each patch; those from n on are hidden.
        """
        x = self.decoder_embed(tokens)
        hidden = place.shape[1] - self.visible
        shuffled = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(len(x), hidden, -1)], 1)
        patches = shuffled.gather(1, place[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def encoder(self) -> dict[str, Tensor]:
        """Return the encoder's part of the state dict, which `models.vit` loads."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith("decoder_") and name != "mask_token"
        }


def pixel_loss(predicted: Tensor, crop: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error over the hidden patches, whose own mean and spread are gone.

    Args:
        predicted, mask: what the autoencoder gives of the crop.
    """
    target, _, _ = normalized_patches(crop, round((predicted.shape[2] / 3) ** 0.5))
    each = (predicted.float() - target).square().mean(dim=2)
    return (each * mask).sum() / mask.sum()


def normalized_patches(crop: Tensor, patch_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return patches with mean 0 and variance 1 over their pixels, and what was taken away.

    `[B, 3, S, S] -> [B, N, P * P * 3]`, the means and the deviations `[B, N, 1]`.
    """
    patches = patchify(crop.float(), patch_px)
    mean = patches.mean(dim=2, keepdim=True)
    deviation = (patches.var(dim=2, keepdim=True) + EPS).sqrt()
    return (patches - mean) / deviation, mean, deviation


def patchify(crop: Tensor, patch_px: int) -> Tensor:
    """Cut crops into patches, row by row, color last. `[B, 3, S, S] -> [B, N, P * P * 3]`."""
    count, _, side, _ = crop.shape
    grid = side // patch_px
    cut = crop.reshape(count, 3, grid, patch_px, grid, patch_px)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(count, grid**2, -1)


def unpatchify(patches: Tensor) -> Tensor:
    """Undo `patchify`. `[B, N, P * P * 3] -> [B, 3, S, S]`."""
    count, number, values = patches.shape
    grid, patch_px = round(number**0.5), round((values / 3) ** 0.5)
    cut = patches.reshape(count, grid, grid, patch_px, patch_px, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(count, 3, grid * patch_px, grid * patch_px)


def sine_positions(grid: int, dim: int) -> Tensor:
    """Return MAE's fixed positions: column, then row, each as sines and cosines.

    Returns:
        `[1, 1 + grid * grid, dim]`; the class token's are 0.
    """
    if dim % 4:
        raise ValueError(f"the width {dim} is not divisible by 4")
    rates = 10_000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * rates
    one = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, dim / 2]
    column, row = one.repeat(grid, 1), one.repeat_interleave(grid, dim=0)
    positions = torch.cat([column, row], dim=1)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64), positions])[None].float()
