"""Vision transformers: the encoder of masked autoencoders (MAE, MAE-Face, FMAE) and CLIP's.

The names of the state dict are those of timm and of MAE's checkpoints, which therefore load with
`strict=True`; CLIP's own names are translated where files are read.

Shape letters: B crops, N patches, K tokens (a class token and patches), D width, S pixels of a
side, P pixels of a patch.

References:
  the architecture: Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; MAE: He et al., CVPR 2022,
    arXiv:2111.06377; CLIP: Radford et al., ICML 2021, arXiv:2103.00020
  names, epsilon and order of operations: timm, `vit_base_patch16_224` and
    `vit_base_patch16_clip_quickgelu_224`
  stochastic depth: Huang et al., ECCV 2016, arXiv:1603.09382
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Pool = Literal["mean", "token"]


@dataclass(frozen=True)
class VitShape:
    """The measures of an encoder; `clip` has a norm before the blocks, QuickGELU, no patch bias."""

    dim: int
    depth: int
    heads: int
    clip: bool = False
    patch_px: int = 16
    input_px: int = 224


VIT_SHAPES = {
    "vit_tiny_patch16_224": VitShape(192, 12, 3),
    "vit_small_patch16_224": VitShape(384, 12, 6),
    "vit_base_patch16_224": VitShape(768, 12, 12),
    "vit_large_patch16_224": VitShape(1024, 24, 16),
    "vit_base_patch16_clip_quickgelu_224": VitShape(768, 12, 12, clip=True),
}


class QuickGELU(nn.Module):
    """CLIP's approximation of GELU, x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class DropPath(nn.Module):
    """Leave a branch out for a random fraction of the crops of a batch, in training only."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.rate
        return x * kept / (1.0 - self.rate)


class SelfAttention(nn.Module):
    """Multi-head self-attention. `[B, K, D] -> [B, K, D]`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, dim = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, K, D / heads]
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(count, tokens, dim))


class Mlp(nn.Module):
    """Two layers, four times the width between them. `[B, K, D] -> [B, K, D]`."""

    def __init__(self, dim: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = activation
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a skip. `[B, K, D] -> [B, K, D]`."""

    def __init__(
        self, dim: int, heads: int, *, eps: float, drop_path: float = 0.0, clip: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, QuickGELU() if clip else nn.GELU())
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """One vector for each patch, row by row. `[B, 3, S, S] -> [B, N, D]`."""

    def __init__(self, dim: int, patch_px: int, *, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, patch_px, bias=bias)

    def forward(self, crop: Tensor) -> Tensor:
        return self.proj(crop).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """A vision transformer as appearance network.

    Shapes: `[B, 3, S, S]` float -> embedding `[B, D]` and map `[B, D, S / P, S / P]`, the patches
    behind the last norm. The embedding is their mean, or the class token behind the same norm.

    Args:
        pool: what the embedding is; MAE's class token is not trained, CLIP's is.
        drop_path: the rate of the last block; those before it rise to it in equal steps from 0.
    """

    def __init__(self, shape: VitShape, *, pool: Pool = "mean", drop_path: float = 0.0) -> None:
        super().__init__()
        eps = 1e-5 if shape.clip else 1e-6
        self.shape, self.pool = shape, pool
        self.grid = shape.input_px // shape.patch_px
        self.patch_embed = PatchEmbedding(shape.dim, shape.patch_px, bias=not shape.clip)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, shape.dim))
        self.norm_pre = nn.LayerNorm(shape.dim, eps=eps) if shape.clip else nn.Identity()
        rates = torch.linspace(0, drop_path, shape.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(shape.dim, shape.heads, eps=eps, drop_path=rate, clip=shape.clip)
            for rate in rates
        )
        self.norm: nn.Module = nn.LayerNorm(shape.dim, eps=eps)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def patches(self, crop: Tensor) -> Tensor:
        """Return the patches with their positions. `[B, 3, S, S] -> [B, N, D]`."""
        return self.patch_embed(crop) + self.pos_embed[:, 1:]

    def encode(self, patches: Tensor) -> Tensor:
        """Run the blocks on a class token and any of the patches. `[B, n, D] -> [B, 1 + n, D]`."""
        token = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        x = self.norm_pre(torch.cat([token, patches], dim=1))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        return embedding_and_map(self.encode(self.patches(crop)), self.pool)


def embedding_and_map(tokens: Tensor, pool: Pool) -> tuple[Tensor, Tensor]:
    """Return what the last norm gives as `[B, D]` and `[B, D, P, P]`. `[B, 1 + P * P, D]`."""
    patches = tokens[:, 1:]
    embedding = patches.mean(dim=1) if pool == "mean" else tokens[:, 0]
    side = math.isqrt(patches.shape[1])
    return embedding, patches.transpose(1, 2).unflatten(2, (side, side))


def set_drop_path(blocks: Iterable[tuple[int, Block]], depth: int, rate: float) -> None:
    """Give numbered blocks of a network of `depth` their rates, from 0 to that of the last one."""
    for number, block in blocks:
        block.drop_path.rate = rate * number / max(depth - 1, 1)
