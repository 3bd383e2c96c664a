"""Fast forms of the layers' operations: the same results in less time and memory.

Nothing here needs to be read to understand the model: `models.attention` and `models.arpgnet` call
each function once, and its first sentence says what it computes.

Layers over all G graphs at once write tensors of tens of megabytes and read them back from memory,
which takes longer than their arithmetic. Here the graphs are worked through in pieces that stay in
the cache (1 MiB a core where this was measured), and pieces are computed again in the backward pass
instead of being kept.

Shape letters: G graphs, Q query nodes, S key nodes, K candidate keys of a query, H heads, E output
features, C = E/H features of a head; R rows, F input features; g, r the pieces of G and R.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

NEGATIVE_SLOPE = 0.2
# scores are float32 or wider: exp underflows to exactly 0 beside any real score
MASKED_SCORE = -1e9

CHUNK_BYTES = 2**21  # between 1 and 4 MiB a training step's times differ by less than their noise
PAIR_CHUNK = {"cpu": 2**18, "other": 2**26}  # floats alive in GATv2's pair tensor; 1 MiB = one L2


def applies(x: Tensor) -> bool:
    """Check whether to work in pieces: on the CPU, and unless the operations are being recorded
    (export to ONNX, torch.compile)."""
    # is_compiling() is true inside torch.compile, torch.export and torch.onnx.export(dynamo=True)
    recorded = (
        torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.onnx.is_in_onnx_export()
        or torch.compiler.is_compiling()
    )
    return x.device.type == "cpu" and not recorded


def candidate_keys(mask_QS: Tensor, width: int) -> Tensor:
    """List the true columns of each row of a bool [Q, S] mask as int64 [Q, width].

    Rows with fewer than `width` true columns are filled with false ones, so that the entries of a
    row stay distinct; `width` must reach the longest row.
    """
    return mask_QS.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision, in which scores would lose their differences."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gat_projections(
    query_GQF: Tensor, key_GSF: Tensor, weight_EF: Tensor, dst_HC: Tensor, src_HC: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `dst . W h` of queries, `src . W h` of keys, both [G, N, H], and `W h` of keys.

    Folding the vectors into W saves two passes over [G, N, E]; one product for all that reads the
    same nodes saves 7 ms of the 51 that 512 graphs of 49 nodes of 64 features take both ways on one
    core.
    """
    heads = len(dst_HC)
    weight_HCF = weight_EF.unflatten(0, (heads, -1))
    target_HF, source_HF = ((each[..., None] * weight_HCF).sum(1) for each in (dst_HC, src_HC))
    if query_GQF is key_GSF:
        every = F.linear(key_GSF, torch.cat([weight_EF, source_HF, target_HF]))
        value, source, target = every.split([len(weight_EF), heads, heads], dim=-1)
    else:
        both = F.linear(key_GSF, torch.cat([weight_EF, source_HF]))
        value, source = both.split([len(weight_EF), heads], dim=-1)
        target = F.linear(query_GQF, target_HF)
    return at_least_float32(target), at_least_float32(source), value


def few_neighbors(value_GSE: Tensor, neighbors_QK: Tensor) -> bool:
    """Check whether `gat_over_neighbors` is faster than all pairs.

    512 graphs of 49 nodes with 6 neighbors, both ways on one core: 47 ms where all pairs take 68.
    """
    return 2 * neighbors_QK.shape[1] <= value_GSE.shape[1] and applies(value_GSE)


def gat_over_neighbors(
    target_GQH: Tensor, source_GSH: Tensor, value_GSE: Tensor, edges: tuple[Tensor, Tensor]
) -> Tensor:
    """Compute GAT's output [G, Q, E] before the bias, from the candidate keys of each query alone.

    Graphs come last in between, so that keys are gathered in long rows.
    """
    mask_GQS, neighbors_QK = edges
    row_Q1 = torch.arange(len(neighbors_QK), device=neighbors_QK.device)[:, None]
    seen_QKG1 = mask_GQS.permute(1, 2, 0)[row_Q1, neighbors_QK][..., None]
    target_QGH, source_SGH = target_GQH.transpose(0, 1), source_GSH.transpose(0, 1)
    score_QKGH = source_SGH.index_select(0, neighbors_QK.flatten()).unflatten(0, neighbors_QK.shape)
    score_QKGH = score_QKGH + target_QGH[:, None]
    bias_QKG1 = torch.where(seen_QKG1, 0.0, MASKED_SCORE).to(score_QKGH.dtype)
    alpha_QKGH = F.leaky_relu_(score_QKGH.add_(bias_QKG1), NEGATIVE_SLOPE).softmax(1)
    value_GSHC = value_GSE.unflatten(-1, (target_GQH.shape[-1], -1))
    return NeighborMix.apply(alpha_QKGH, value_GSHC, neighbors_QK).flatten(2)


class NeighborMix(torch.autograd.Function):
    """Weighted sums over candidate keys: out_i = sum_k alpha_ik value_n(i,k), in each head.

    A dense product with mostly zero weights is the fastest way to add up a few rows in torch. Here
    the dense weights [g, H, Q, S] of a few graphs exist at a time, in one buffer whose zeros stay.

    Shapes:
        alpha_QKGH, value_GSHC, neighbors_QK -> out_GQHC
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, alpha_QKGH: Tensor, value_GSHC: Tensor, neighbors_QK: Tensor
    ) -> Tensor:
        ctx.save_for_backward(alpha_QKGH, value_GSHC, neighbors_QK)
        graphs, _, heads, width = value_GSHC.shape
        out_GQHC = value_GSHC.new_empty(graphs, len(neighbors_QK), heads, width)
        for part, dense_gHQS in _dense_weights(alpha_QKGH, value_GSHC, neighbors_QK):
            out_GQHC[part] = (dense_gHQS @ value_GSHC[part].transpose(1, 2)).transpose(1, 2)
        return out_GQHC

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_GQHC: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        alpha_QKGH, value_GSHC, neighbors_QK = ctx.saved_tensors
        row_Q1 = torch.arange(len(neighbors_QK))[:, None]
        grad_alpha_QKGH, grad_value_GSHC = map(torch.empty_like, (alpha_QKGH, value_GSHC))
        for part, dense_gHQS in _dense_weights(alpha_QKGH, value_GSHC, neighbors_QK):
            grad_gHQC = grad_GQHC[part].transpose(1, 2).contiguous()
            grad_value_GSHC[part] = (dense_gHQS.transpose(-1, -2) @ grad_gHQC).transpose(1, 2)
            grad_gHQS = grad_gHQC @ value_GSHC[part].permute(0, 2, 3, 1)
            grad_alpha_QKGH[:, :, part] = grad_gHQS.permute(2, 3, 0, 1)[row_Q1, neighbors_QK]
        return grad_alpha_QKGH, grad_value_GSHC, None


def _dense_weights(alpha_QKGH: Tensor, value_GSHC: Tensor, neighbors_QK: Tensor):  # type: ignore[no-untyped-def]
    """Yield slices of the graphs and their weights [g, H, Q, S], valid until the next ones."""
    graphs, keys, heads, _ = value_GSHC.shape
    queries = len(neighbors_QK)
    step = max(1, CHUNK_BYTES // (heads * queries * keys * value_GSHC.element_size()))
    dense_gHQS = value_GSHC.new_zeros(min(step, graphs), heads, queries, keys)
    dense_QSgH = dense_gHQS.permute(2, 3, 0, 1)
    row_Q1 = torch.arange(queries)[:, None]
    for start in range(0, graphs, step):
        part = slice(start, min(start + step, graphs))
        count = part.stop - start
        # a query's candidates are distinct and the same in all graphs: nothing else is written
        dense_QSgH[:, :, :count][row_Q1, neighbors_QK] = alpha_QKGH[:, :, part].to(value_GSHC.dtype)
        yield part, dense_gHQS[:count]


def gatv2_weights(
    left_GSE: Tensor, right_GQE: Tensor, att_HC: Tensor, edges: tuple[Tensor, Tensor]
) -> Tensor:
    """Compute GATv2's weights [G, H, Q, S]: softmax over j of `att . LeakyReLU(left_j + right_i)`.

    The scores need only the K candidates of a query (7 of 49 on the paper's graph), but the
    weighted sum is faster as one matrix product over all S keys than with gathered values.
    """
    mask_GQS, neighbors_QK = edges
    with torch.autocast(right_GQE.device.type, enabled=False):
        left, right, att = map(at_least_float32, (left_GSE, right_GQE, att_HC))
        score_GQKH = PairScore.apply(left, right, att, neighbors_QK)
    graphs, keys = left_GSE.shape[:2]
    neighbors_GQK = neighbors_QK.expand(graphs, -1, -1)
    seen_GQK = mask_GQS.expand(graphs, -1, -1).gather(2, neighbors_GQK)
    score_GQKH = score_GQKH.masked_fill(~seen_GQK[..., None], MASKED_SCORE)
    alpha_GHQK = score_GQKH.softmax(2).permute(0, 3, 1, 2)
    every_GHQK = neighbors_QK.expand(alpha_GHQK.shape)
    return alpha_GHQK.new_zeros(*alpha_GHQK.shape[:3], keys).scatter(3, every_GHQK, alpha_GHQK)


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


def standardized_linear(x: Tensor, standardize: nn.Module, linear: nn.Linear) -> Tensor:
    """Compute `linear(standardize(x))` of float16 or wider x[..., F], under autocast or without.

    Widening and standardizing 25 088 x 512 float16 features took as long as the products that
    read them: 100 ms forward and backward on one core where pieces take 52, in bfloat16 79 and 32.

    Args:
        standardize: `models.arpgnet.Standardize`.
    """
    if not applies(x):
        return linear(standardize(x))
    shift_F, scale_F = standardize.get_buffer("shift"), standardize.get_buffer("scale")
    device = x.device.type
    dtype = linear.weight.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        weight_EF, bias_E = linear.weight.to(dtype), linear.bias.to(dtype)
        return _StandardizedLinear.apply(x, shift_F, scale_F, weight_EF, bias_E)


class _StandardizedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        shift_F: Tensor,
        scale_F: Tensor,
        weight_EF: Tensor,
        bias_E: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, shift_F, scale_F, weight_EF)
        x_RF = x.reshape(-1, x.shape[-1])
        out_RE = weight_EF.new_empty(len(x_RF), len(weight_EF))
        for part, x_rF in _standardized(x_RF, shift_F, scale_F, weight_EF.dtype):
            out_RE[part] = F.linear(x_rF, weight_EF, bias_E)
        return out_RE.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        x, shift_F, scale_F, weight_EF = ctx.saved_tensors
        x_RF, grad_RE = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = ((grad @ weight_EF) * scale_F).to(x.dtype)
        # sums over all rows, so that bfloat16 may not round in between
        grad_EF = torch.zeros_like(weight_EF, dtype=shift_F.dtype)
        for part, x_rF in _standardized(x_RF, shift_F, scale_F, weight_EF.dtype):
            grad_EF += grad_RE[part].T @ x_rF
        grad_bias_E = grad_RE.sum(0)
        return grad_x, None, None, grad_EF.to(weight_EF.dtype), grad_bias_E


def _standardized(x_RF: Tensor, shift_F: Tensor, scale_F: Tensor, dtype: torch.dtype):  # type: ignore[no-untyped-def]
    """Yield slices of the rows and the rows standardized, valid until the next ones."""
    step = max(1, CHUNK_BYTES // (x_RF.shape[1] * shift_F.element_size()))
    wide_rF = shift_F.new_empty(min(step, len(x_RF)), x_RF.shape[1])
    for start in range(0, len(x_RF), step):
        part = slice(start, min(start + step, len(x_RF)))
        x_rF = wide_rF[: part.stop - start].copy_(x_RF[part])
        # standardized before it is rounded: a feature may vary little around a large mean
        yield part, torch.addcmul(shift_F, x_rF, scale_F, out=x_rF).to(dtype)
