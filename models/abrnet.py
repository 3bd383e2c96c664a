"""ABRNet: relations between facial action units, learned by attention.

    Wei, Wang, Sun, Liu: Attention Based Relation Network for Facial Action Units Recognition;
    ICASSP 2023; arXiv 2210.13988.

An independent reimplementation from abstract and introduction: equations, widths and rates were not
available to us, and no code of the authors is public.

The paper's: several relation learning layers take the units' features, each for another kind of
relation, without a graph that is given in advance; a self-attention fusion weighs and refines each
unit's features; AU relation dropout; an AU relation loss (`pipeline.training.kinds.action_units`).
Ours, and therefore settings or marked [DEFAULT]: a unit's own feature from the regions (attention
over them, then one linear block a unit, after Luo et al., arXiv 2205.01782), what a relation layer
is (a learned A x A matrix, or attention over the units), residual + LayerNorm, ELU, the number of
layers, the rate, and how the versions are merged.

Shape letters: G frames, N regions, A units, D width, H heads, L relation layers.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arpgnet.models.kernels import MASKED_SCORE

Pool = Literal["attention", "mean"]
Relations = Literal["matrix", "attention"]


@dataclass(frozen=True, kw_only=True)
class ABRNetConfig:
    """Settings of the head.

    Attributes:
        units: A.
        pool: a unit's feature from the regions: attention with a learned score a unit and region,
            or the mean over visible ones.
        relations: of a layer: `matrix`, a learned A x A mixing matrix, the same for every face;
            `attention`, computed from the units' features.
        layers: L relation layers beside each other; 0 = no relations.
        heads: of attention over units and over versions.
        fuse: self-attention over the L + 1 versions of a unit; false = their mean.
        dropout: AU relation dropout: the rate at which a relation between two units is cut in
            training.
    """

    units: int
    pool: Pool
    relations: Relations
    layers: int
    heads: int
    fuse: bool
    dropout: float

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("pool", self.pool, get_args(Pool)),
            ("relations", self.relations, get_args(Relations)),
        ):
            if value not in choices:
                raise ValueError(f"relation.abrnet.{name} is {value!r}; use {', '.join(choices)}")
        if self.layers < 0:
            raise ValueError(f"relation.abrnet.layers is {self.layers}; use 0 or more")


class ABRNet(nn.Module):
    """Region features of each frame -> a feature and a logit of each action unit."""

    def __init__(self, config: ABRNetConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.features = UnitFeatures(config.units, width, config.pool)
        self.relations = nn.ModuleList(RelationLayer(config, width) for _ in range(config.layers))
        if config.fuse and config.layers:
            self.fusion = VersionFusion(width, config.heads)
        self.weight_AD = nn.Parameter(torch.randn(config.units, width) * width**-0.5)
        self.bias_A = nn.Parameter(torch.zeros(config.units))

    def forward(self, x_GND: Tensor, visible_GN: Tensor) -> tuple[Tensor, Tensor]:
        """Return the units' refined features [G, A, D] and logits [G, A]."""
        unit_GAD = self.features(x_GND, visible_GN)
        versions = [unit_GAD, *(layer(unit_GAD) for layer in self.relations)]
        if len(versions) == 1:
            refined_GAD = unit_GAD
        elif self.config.fuse:
            refined_GAD = self.fusion(torch.stack(versions, dim=2))
        else:
            refined_GAD = torch.stack(versions).mean(0)
        return refined_GAD, (refined_GAD * self.weight_AD).sum(-1) + self.bias_A


class UnitFeatures(nn.Module):
    """A feature of each unit from the regions [DEFAULT].

    The regions are pooled before the linear block: for the mean that is the same as after it, and
    one region's block for every unit would take N times as long.
    """

    def __init__(self, units: int, width: int, pool: Pool) -> None:
        super().__init__()
        self.units, self.pool = units, pool
        if pool == "attention":
            self.score = nn.Linear(width, units)
        bound = width**-0.5
        self.weight_ADD = nn.Parameter(torch.empty(units, width, width).uniform_(-bound, bound))
        self.bias_AD = nn.Parameter(torch.zeros(units, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_GND: Tensor, visible_GN: Tensor) -> Tensor:
        if self.pool == "attention":
            score_GNA = self.score(x_GND).float().masked_fill(~visible_GN[..., None], MASKED_SCORE)
        else:
            hidden = torch.where(visible_GN, 0.0, MASKED_SCORE)
            score_GNA = hidden[..., None].expand(-1, -1, self.units)
        share_GNA = score_GNA.softmax(1) * visible_GN[..., None]
        pooled_GAD = share_GNA.transpose(1, 2).to(x_GND.dtype) @ x_GND
        mixed_GAD = torch.einsum("gad,ade->gae", pooled_GAD, self.weight_ADD) + self.bias_AD
        return self.norm(F.elu(mixed_GAD))


class RelationLayer(nn.Module):
    """What each unit takes from the others: one kind of relation [DEFAULT].

    AU relation dropout cuts entries of the A x A relations before the softmax, for each frame by
    itself; a unit's own entry stays, so that every row has one.
    """

    def __init__(self, config: ABRNetConfig, width: int) -> None:
        super().__init__()
        self.kind, self.heads, self.dropout = config.relations, config.heads, config.dropout
        if self.kind == "matrix":
            self.heads = 1
            # small random scores: equal ones would make all layers the same
            self.score_AA = nn.Parameter(torch.randn(config.units, config.units) * 0.1)
        else:
            self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, unit_GAD: Tensor) -> Tensor:
        share_GHAA = self.shares(unit_GAD)
        value_GHAE = self.value(unit_GAD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        message_GAD = (share_GHAA.to(value_GHAE.dtype) @ value_GHAE).transpose(1, 2).flatten(-2)
        return self.norm(unit_GAD + F.elu(message_GAD))

    def shares(self, unit_GAD: Tensor) -> Tensor:
        """Return how much each unit (row) takes of each: float32 [G, H, A, A]; rows sum to 1."""
        frames, units, _ = unit_GAD.shape
        if self.kind == "matrix":
            score_GHAA = self.score_AA.expand(frames, 1, units, units).float()
        else:
            query, key = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2).float()
                for part in self.query_key(unit_GAD).chunk(2, dim=-1)
            )
            score_GHAA = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if self.training and self.dropout:
            own_AA = torch.eye(units, dtype=torch.bool, device=unit_GAD.device)
            drawn = torch.rand(score_GHAA.shape, device=unit_GAD.device)
            score_GHAA = score_GHAA.masked_fill((drawn < self.dropout) & ~own_AA, MASKED_SCORE)
        return score_GHAA.softmax(-1)


class VersionFusion(nn.Module):
    """Self-attention over a unit's own and its related versions, then their mean [DEFAULT].

    That of `nn.MultiheadAttention`, whose parameters it has. The mean is taken of the weights,
    before the values are summed and projected, and scores are sums of products: many products of
    5 x 16 matrices take half as long again.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, version_GAVD: Tensor) -> Tensor:
        inner = self.attention
        projected = F.linear(version_GAVD, inner.in_proj_weight, inner.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, inner.num_heads, -1)).unbind(-3)
        # V queries x V keys x H
        score_GAVVH = (query[:, :, :, None] * key[:, :, None]).sum(-1)
        score_GAVVH = score_GAVVH.float() * key.shape[-1] ** -0.5
        share_GAVH = score_GAVVH.softmax(3).mean(2)
        message_GAD = (share_GAVH[..., None].to(value.dtype) * value).sum(2).flatten(-2)
        return self.norm(version_GAVD.mean(2) + inner.out_proj(message_GAD))
