"""Graph attention on one fixed small graph, batched over leading dimensions.

Every layer here lets Q query nodes attend to S key nodes of the same graph, G graphs at a time:

    alpha_ij = softmax over j of score(i, j),     out_i = sum_j alpha_ij W h_j + bias

and only the score differs:

    GAT    LeakyReLU(a_dst . W h_i + a_src . W h_j)   Velickovic et al. 2018, arXiv 1710.10903
    GATv2  a . LeakyReLU(W_r h_i + W_l h_j)           Brody et al. 2022, arXiv 2105.14491
    dot    (W_q h_i) . (W_k h_j) / sqrt(E/H)          Vaswani et al. 2017, arXiv 1706.03762

GAT and GATv2 have the parameters, their names and the mathematics of torch_geometric's GATConv and
GATv2Conv (heads concatenated), so a state dict moves either way. PyG batches graphs as one
block-diagonal edge list; with a single fixed topology a dense or padded form is faster
(benchmarks/graph_attention.py).

Shape letters: G graphs, Q query nodes, S key nodes, K candidate keys of a query, F input features,
E output features, H heads, C = E/H features of a head.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from arpgnet.models import chunked

ConvName = Literal["gat", "gatv2", "dot"]

NEGATIVE_SLOPE = 0.2
MASKED_SCORE = (
    -1e9
)  # scores are float32 or wider: exp underflows to exactly 0 beside any real score
PAIR_CHUNK = {"cpu": 2**18, "other": 2**26}  # floats alive in GATv2's pair tensor; 1 MiB = one L2


class Edges(NamedTuple):
    """Which keys a query may attend to.

    Attributes:
        mask: bool [G or 1, Q, S], true where query i sees key j. A query that sees no key gets
            a finite but meaningless row: whoever allows that drops the row.
        neighbors: int64 [Q, K], distinct keys of each query which cover every true entry of the
            mask in all graphs (`candidate_keys`); only GATv2 reads it.
    """

    mask: Tensor
    neighbors: Tensor


def candidate_keys(mask_QS: Tensor, width: int) -> Tensor:
    """List the true columns of each row of a bool [Q, S] mask as int64 [Q, width].

    Rows with fewer than `width` true columns are filled with false ones, so that the entries of a
    row stay distinct; `width` must reach the longest row.
    """
    return mask_QS.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]


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
        target_GQH, source_GSH, value_GSE = self._project(query_GQF, key_GSF)
        dropout = self.dropout if self.training else 0.0
        few = 2 * edges.neighbors.shape[1] <= key_GSF.shape[1]
        if few and not attention and not dropout and chunked.applies(value_GSE):
            # 512 graphs of 49 nodes, both ways on one core: 47 ms where all pairs take 68
            alpha_QKGH = _neighbor_softmax(target_GQH, source_GSH, edges)
            value_GSHC = value_GSE.unflatten(-1, (self.heads, -1))
            out_GQHC = chunked.NeighborMix.apply(alpha_QKGH, value_GSHC, edges.neighbors)
            return out_GQHC.flatten(2) + self.bias, None
        bias_GQS = torch.where(edges.mask, 0.0, MASKED_SCORE).to(source_GSH.dtype)
        # In place, and the mask before the activation (which keeps it very negative): with 49 nodes
        # these N x N passes are the layer's cost, and this order took 57 ms where masking after the
        # activation took 80.
        score_GHQS = target_GQH.transpose(1, 2)[..., None] + source_GSH.transpose(1, 2)[:, :, None]
        score_GHQS = score_GHQS.add_(bias_GQS[:, None])
        alpha_GHQS = F.leaky_relu_(score_GHQS, NEGATIVE_SLOPE).softmax(-1)
        return _mix(alpha_GHQS, value_GSE, self.bias, dropout)

    def _project(self, query_GQF: Tensor, key_GSF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of queries and keys, a . W h for each head, and the keys' values.

        Folding a into W saves two passes over [G, N, E]; one product for all that reads the same
        nodes saves 7 ms of the 51 that 512 graphs of 49 nodes of 64 features take both ways on one
        core.
        """
        value_EF = self.lin.weight
        weight_HCF = value_EF.unflatten(0, (self.heads, -1))
        target_HF, source_HF = (
            (att_1HC[0, ..., None] * weight_HCF).sum(1) for att_1HC in (self.att_dst, self.att_src)
        )
        if query_GQF is key_GSF:
            weights = torch.cat([value_EF, source_HF, target_HF])
            value, source, target = F.linear(key_GSF, weights).split(
                [len(value_EF), self.heads, self.heads], dim=-1
            )
        else:
            both = F.linear(key_GSF, torch.cat([value_EF, source_HF]))
            value, source = both.split([len(value_EF), self.heads], dim=-1)
            target = F.linear(query_GQF, target_HF)
        return _at_least_float32(target), _at_least_float32(source), value


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
        mask_GQS, neighbors_QK = edges
        left_GSE, right_GQE = self.lin_l(key_GSF), self.lin_r(query_GQF)
        with torch.autocast(query_GQF.device.type, enabled=False):
            score_GQKH = PairScore.apply(
                _at_least_float32(left_GSE),
                _at_least_float32(right_GQE),
                _at_least_float32(self.att[0]),
                neighbors_QK,
            )
        graphs = len(left_GSE)
        shape_GHQK = (graphs, self.heads, *neighbors_QK.shape)
        seen_GQK = mask_GQS.expand(graphs, -1, -1).gather(
            2, neighbors_QK.expand(graphs, *neighbors_QK.shape)
        )
        score_GQKH = score_GQKH.masked_fill(~seen_GQK[..., None], MASKED_SCORE)
        alpha_GHQK = score_GQKH.softmax(2).permute(0, 3, 1, 2)
        # The scores need only the K candidates of a query (7 of 49 on the paper's graph), but the
        # weighted sum is faster as one matrix product over all S keys than with gathered values.
        alpha_GHQS = alpha_GHQK.new_zeros(*shape_GHQK[:3], key_GSF.shape[1]).scatter(
            3, neighbors_QK.expand(shape_GHQK), alpha_GHQK
        )
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
        score_GHQS = _at_least_float32(query_GHQC @ key_GHSC.transpose(-1, -2))
        alpha_GHQS = score_GHQS.masked_fill(~edges.mask[:, None], MASKED_SCORE).softmax(-1)
        value_GSE = self.lin_value(key_GSF)
        return _mix(alpha_GHQS, value_GSE, self.bias, self.dropout if self.training else 0.0)


CONVS: dict[ConvName, type[GAT] | type[GATv2] | type[DotAttention]] = {
    "gat": GAT,
    "gatv2": GATv2,
    "dot": DotAttention,
}


class PairScore(torch.autograd.Function):
    """GATv2's score a . LeakyReLU(left_j + right_i) for the candidate pairs of a fixed graph.

    The [G, Q, K, E] sum of pairs is E/H times larger than the scores. It is built a few graphs at a
    time, small enough for the cache, and built again in the backward pass instead of being kept:
    on 512 graphs of 49 nodes half the time of plain autograd, and memory for the scores alone.

    Shapes:
        left_GSE, right_GQE, att_HC, neighbors_QK -> score_GQKH
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, left_GSE: Tensor, right_GQE: Tensor, att_HC: Tensor, neighbors_QK: Tensor
    ) -> Tensor:
        ctx.save_for_backward(left_GSE, right_GQE, att_HC, neighbors_QK)
        att_HE = torch.block_diag(*att_HC)  # one matrix product does all heads
        score_GQKH = left_GSE.new_empty(len(left_GSE), *neighbors_QK.shape, len(att_HC))
        for part in _chunks(right_GQE, neighbors_QK):
            pair_gQKE = _activated_pairs(left_GSE[part], right_GQE[part], neighbors_QK)
            score_GQKH[part] = pair_gQKE @ att_HE.T
        return score_GQKH

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_GQKH: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        left_GSE, right_GQE, att_HC, neighbors_QK = ctx.saved_tensors
        att_HE = torch.block_diag(*att_HC)
        grad_left_GSE, grad_right_GQE = torch.zeros_like(left_GSE), torch.empty_like(right_GQE)
        grad_att_HE = torch.zeros_like(att_HE)
        for part in _chunks(right_GQE, neighbors_QK):
            grad_gQKH = grad_GQKH[part]
            pair_gQKE = _activated_pairs(left_GSE[part], right_GQE[part], neighbors_QK)
            grad_att_HE += grad_gQKH.flatten(0, 2).T @ pair_gQKE.flatten(0, 2)
            grad_pair_gQKE = torch.ops.aten.leaky_relu_backward(
                grad_gQKH @ att_HE, pair_gQKE, NEGATIVE_SLOPE, True
            )
            grad_right_GQE[part] = grad_pair_gQKE.sum(2)
            grad_left_GSE[part].index_add_(1, neighbors_QK.flatten(), grad_pair_gQKE.flatten(1, 2))
        heads, width = att_HC.shape
        own_block = torch.arange(heads, device=att_HC.device)
        grad_att_HC = grad_att_HE.view(heads, heads, width)[own_block, own_block]
        return grad_left_GSE, grad_right_GQE, grad_att_HC, None


def _chunks(right_GQE: Tensor, neighbors_QK: Tensor) -> list[slice]:
    device = right_GQE.device.type
    floats = neighbors_QK.numel() * right_GQE.shape[-1]
    step = max(1, PAIR_CHUNK["cpu" if device == "cpu" else "other"] // floats)
    return [slice(start, start + step) for start in range(0, len(right_GQE), step)]


def _activated_pairs(left_gSE: Tensor, right_gQE: Tensor, neighbors_QK: Tensor) -> Tensor:
    pair_gQKE = left_gSE.index_select(1, neighbors_QK.flatten()).unflatten(1, neighbors_QK.shape)
    return F.leaky_relu_(pair_gQKE.add_(right_gQE[:, :, None]), NEGATIVE_SLOPE)


def _neighbor_softmax(target_GQH: Tensor, source_GSH: Tensor, edges: Edges) -> Tensor:
    """GAT's weights of the candidate keys alone, 6 of 49 on the paper's graph; [Q, K, G, H].

    Graphs come last, so that keys are gathered in long rows.
    """
    mask_GQS, neighbors_QK = edges
    row_Q1 = torch.arange(len(neighbors_QK), device=neighbors_QK.device)[:, None]
    seen_QKG1 = mask_GQS.permute(1, 2, 0)[row_Q1, neighbors_QK][..., None]
    target_QGH, source_SGH = target_GQH.transpose(0, 1), source_GSH.transpose(0, 1)
    score_QKGH = source_SGH.index_select(0, neighbors_QK.flatten()).unflatten(0, neighbors_QK.shape)
    score_QKGH = score_QKGH + target_QGH[:, None]
    bias_QKG1 = torch.where(seen_QKG1, 0.0, MASKED_SCORE).to(score_QKGH.dtype)
    return F.leaky_relu_(score_QKGH.add_(bias_QKG1), NEGATIVE_SLOPE).softmax(1)


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


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
