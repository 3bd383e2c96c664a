"""Graph attention on one fixed small graph, batched over leading dimensions.

Every layer here lets Q query nodes attend to S key nodes of the same graph, G graphs at a time:

    alpha_ij = softmax over j of score(i, j),     out_i = sum_j alpha_ij W h_j + bias

and only the score differs (LeakyReLU has a slope of 0.2 below zero):

    GAT    LeakyReLU(a_dst . W h_i + a_src . W h_j)   Velickovic et al. 2018, arXiv 1710.10903
    GATv2  a . LeakyReLU(W_r h_i + W_l h_j)           Brody et al. 2022, arXiv 2105.14491
    dot    (W_q h_i) . (W_k h_j) / sqrt(E/H)          Vaswani et al. 2017, arXiv 1706.03762

GAT and GATv2 have the parameters, their names and the mathematics of torch_geometric's GATConv and
GATv2Conv (heads concatenated), so a state dict moves either way. PyG batches graphs as one
block-diagonal edge list; with a single fixed topology a dense or padded form is faster
(benchmarks/graph_attention.py). What makes the layers fast is in `models.kernels`.

Shape letters: G graphs, Q query nodes, S key nodes, K candidate keys of a query, F input features,
E output features, H heads, C = E/H features of a head.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arpgnet.models import kernels
from arpgnet.models.kernels import MASKED_SCORE, NEGATIVE_SLOPE

ConvName = Literal["gat", "gatv2", "dot"]


class Edges(NamedTuple):
    """Which keys a query may attend to.

    Attributes:
        mask: bool [G or 1, Q, S], true where query i sees key j. A query that sees no key gets
            a finite but meaningless row: whoever allows that drops the row.
        neighbors: int64 [Q, K], distinct keys of each query which cover every true entry of the
            mask in all graphs (`kernels.candidate_keys`); the fast forms read it.
    """

    mask: Tensor
    neighbors: Tensor


class GAT(nn.Module):
    """Graph attention layer, equal to `torch_geometric.nn.GATConv`.

    Shapes:
        query_GQF, key_GSF -> out_GQE, alpha_GHQS (rows sum to 1 over unmasked keys); alpha may be
        None where `attention` is false
    """

    def __init__(self, dim_in: int, dim_out: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        width = _head_width(dim_out, heads)
        self.heads, self.dropout = heads, dropout
        self.lin = nn.Linear(dim_in, dim_out, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, width))
        self.att_dst = nn.Parameter(torch.empty(1, heads, width))
        self.bias = nn.Parameter(torch.zeros(dim_out))
        for weight in (self.lin.weight, self.att_src.data[0], self.att_dst.data[0]):
            nn.init.xavier_uniform_(weight)

    def forward(
        self, query_GQF: Tensor, key_GSF: Tensor, edges: Edges, *, attention: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        target_GQH, source_GSH, value_GSE = kernels.gat_projections(
            query_GQF, key_GSF, self.lin.weight, self.att_dst[0], self.att_src[0]
        )
        dropout = self.dropout if self.training else 0.0
        if not (attention or dropout) and kernels.few_neighbors(value_GSE, edges.neighbors):
            out_GQE = kernels.gat_over_neighbors(target_GQH, source_GSH, value_GSE, edges)
            return out_GQE + self.bias, None
        score_GHQS = target_GQH.transpose(1, 2)[..., None] + source_GSH.transpose(1, 2)[:, :, None]
        # In place, and the mask before the activation (which keeps it very negative): with 49 nodes
        # the layer takes 57 ms, where masking after the activation took 80.
        bias_GQS = torch.where(edges.mask, 0.0, MASKED_SCORE).to(score_GHQS.dtype)
        score_GHQS = score_GHQS.add_(bias_GQS[:, None])
        alpha_GHQS = F.leaky_relu_(score_GHQS, NEGATIVE_SLOPE).softmax(-1)
        return _mix(alpha_GHQS, value_GSE, self.bias, dropout)


class GATv2(nn.Module):
    """Graph attention layer with dynamic scores, equal to `torch_geometric.nn.GATv2Conv`.

    Shapes:
        query_GQF, key_GSF -> out_GQE, alpha_GHQS (rows sum to 1 over unmasked keys)
    """

    def __init__(self, dim_in: int, dim_out: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        width = _head_width(dim_out, heads)
        self.heads, self.dropout = heads, dropout
        self.lin_l = nn.Linear(dim_in, dim_out)
        self.lin_r = nn.Linear(dim_in, dim_out)
        self.att = nn.Parameter(torch.empty(1, heads, width))
        self.bias = nn.Parameter(torch.zeros(dim_out))
        for weight in (self.lin_l.weight, self.lin_r.weight, self.att.data[0]):
            nn.init.xavier_uniform_(weight)
        for linear in (self.lin_l, self.lin_r):
            nn.init.zeros_(linear.bias)

    def forward(
        self, query_GQF: Tensor, key_GSF: Tensor, edges: Edges, *, attention: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        left_GSE, right_GQE = self.lin_l(key_GSF), self.lin_r(query_GQF)
        alpha_GHQS = kernels.gatv2_weights(left_GSE, right_GQE, self.att[0], edges)
        return _mix(alpha_GHQS, left_GSE, self.bias, self.dropout if self.training else 0.0)


class DotAttention(nn.Module):
    """Scaled dot-product scores under the same interface: the ablation of the graph attention.

    Shapes:
        query_GQF, key_GSF -> out_GQE, alpha_GHQS (rows sum to 1 over unmasked keys)
    """

    def __init__(self, dim_in: int, dim_out: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(_head_width(dim_out, heads))
        self.heads, self.dropout = heads, dropout
        self.lin_query = nn.Linear(dim_in, dim_out)
        self.lin_key = nn.Linear(dim_in, dim_out)
        self.lin_value = nn.Linear(dim_in, dim_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(dim_out))
        for linear in (self.lin_query, self.lin_key, self.lin_value):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, query_GQF: Tensor, key_GSF: Tensor, edges: Edges, *, attention: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        query_GHQC = _split_heads(self.lin_query(query_GQF) * self.scale, self.heads)
        key_GHSC = _split_heads(self.lin_key(key_GSF), self.heads)
        score_GHQS = kernels.at_least_float32(query_GHQC @ key_GHSC.transpose(-1, -2))
        alpha_GHQS = score_GHQS.masked_fill(~edges.mask[:, None], MASKED_SCORE).softmax(-1)
        value_GSE = self.lin_value(key_GSF)
        return _mix(alpha_GHQS, value_GSE, self.bias, self.dropout if self.training else 0.0)


CONVS: dict[ConvName, type[GAT] | type[GATv2] | type[DotAttention]] = {
    "gat": GAT,
    "gatv2": GATv2,
    "dot": DotAttention,
}


def _mix(
    alpha_GHQS: Tensor, value_GSE: Tensor, bias_E: Tensor, dropout: float
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the values, heads concatenated; the weights are returned before dropout."""
    value_GHSC = _split_heads(value_GSE, alpha_GHQS.shape[1])
    weight_GHQS = F.dropout(alpha_GHQS, dropout) if dropout else alpha_GHQS
    out_GHQC = weight_GHQS.to(value_GHSC.dtype) @ value_GHSC
    return out_GHQC.transpose(1, 2).flatten(2) + bias_E, alpha_GHQS


def _split_heads(x_GNE: Tensor, heads: int) -> Tensor:
    return x_GNE.unflatten(-1, (heads, -1)).transpose(1, 2)  # [G, H, N, C]


def _head_width(dim_out: int, heads: int) -> int:
    if heads < 1 or dim_out % heads:
        raise ValueError(f"width {dim_out} does not divide into {heads} attention heads")
    return dim_out // heads
