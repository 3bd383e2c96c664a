"""Training on the CPU, a few graphs at a time: the same numbers from the processor's cache.

Layers over all G graphs at once write tensors of tens of megabytes and read them back from memory,
which takes longer than their arithmetic. The functions here work through the graphs in pieces that
stay in the cache (1 MiB a core where this was measured) and compute pieces again in the backward
pass instead of keeping them. Elsewhere, and where the plain form has to be seen (export to ONNX,
torch.compile), `applies` is false and the callers use plain operations of equal result.

Shape letters: G graphs, Q query nodes, S key nodes, K candidate keys of a query, H heads, C
features of a head; R rows, F input features, E output features; g, r the pieces of G and R.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

CHUNK_BYTES = 2**21  # between 1 and 4 MiB a training step's times differ by less than their noise


def applies(x: Tensor) -> bool:
    """Whether to work in pieces: on the CPU, and unless the operations are being recorded."""
    # is_compiling() is true inside torch.compile, torch.export and torch.onnx.export(dynamo=True)
    recorded = (
        torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.onnx.is_in_onnx_export()
        or torch.compiler.is_compiling()
    )
    return x.device.type == "cpu" and not recorded


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
        grad_alpha_QKGH, grad_value_GSHC = (
            torch.empty_like(alpha_QKGH),
            torch.empty_like(value_GSHC),
        )
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


def standardized_linear(
    x: Tensor, shift_F: Tensor, scale_F: Tensor, weight_EF: Tensor, bias_E: Tensor
) -> Tensor:
    """`linear(x * scale + shift)` for float16 or wider x[..., F], under autocast or without.

    Widening and standardizing 25 088 x 512 float16 features took as long as the products that
    read them: 100 ms forward and backward on one core where pieces take 52, in bfloat16 79 and 32.
    """
    device = x.device.type
    dtype = weight_EF.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return _StandardizedLinear.apply(x, shift_F, scale_F, weight_EF.to(dtype), bias_E.to(dtype))


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
