"""Work in pieces equals the plain operations, forward, backward and in bfloat16."""

import pytest
import torch
from torch import Tensor, nn

from arpgnet.models import kernels
from arpgnet.models.attention import GAT, Edges
from arpgnet.models.inputs import Standardize
from arpgnet.models.kernels import candidate_keys

GRAPHS, NODES, WIDTH, HEADS = 7, 12, 8, 2


def sparse_edges(graphs: int, seed: int = 0) -> Edges:
    """At most 4 of 12 keys, some of them hidden in single graphs."""
    made = torch.Generator().manual_seed(seed)
    near = torch.zeros(NODES, NODES, dtype=torch.bool)
    for row in near:
        row[torch.randperm(NODES, generator=made)[:3]] = True
    own = torch.eye(NODES, dtype=torch.bool)
    hidden = torch.rand(graphs, 1, NODES, generator=made) < 0.3
    return Edges((near & ~hidden) | own, candidate_keys(near | own, 4))


def results(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, inputs, grad)]


@pytest.mark.parametrize("chunk_bytes", [1, 2**12, 2**30])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("shared_mask", [True, False])
def test_gat_over_neighbors_equals_gat_over_all_pairs(
    chunk_bytes: int,
    dtype: torch.dtype,
    close: float,
    shared_mask: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    layer = GAT(WIDTH, WIDTH, HEADS).to(dtype)
    x = torch.randn(GRAPHS, NODES, WIDTH, dtype=dtype, requires_grad=True)
    edges = sparse_edges(1 if shared_mask else GRAPHS)
    inputs = [x, *layer.parameters()]
    pieces, none = layer(x, x, edges, attention=False)
    whole, _ = layer(x, x, edges)
    assert none is None
    for got, expected in zip(results(pieces, inputs), results(whole, inputs), strict=True):
        torch.testing.assert_close(got, expected, atol=20 * close, rtol=close)


@pytest.mark.parametrize("chunk_bytes", [1, 2**9, 2**30])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_standardized_linear_equals_its_two_steps(
    chunk_bytes: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    linear, standardize = nn.Linear(NODES, WIDTH), Standardize(NODES)
    standardize.set(torch.randn(NODES), 1 + torch.rand(NODES))
    x = torch.randn(GRAPHS, 3, NODES).to(dtype).requires_grad_()
    inputs = [x, linear.weight, linear.bias]
    pieces = kernels.standardized_linear(x, standardize, linear)
    plain = linear(standardize(x))
    for got, expected in zip(results(pieces, inputs), results(plain, inputs), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3 if got is x else 1e-5)


def test_bfloat16_autocast_stays_close() -> None:
    torch.manual_seed(0)
    linear, standardize = nn.Linear(NODES, WIDTH), Standardize(NODES)
    # varies little around a large mean: rounded before it is standardized, nothing would be left
    x = (100 + 0.5 * torch.randn(GRAPHS, NODES)).half()
    standardize.set(torch.full((NODES,), 100.0), torch.full((NODES,), 0.5))
    expected = linear(standardize(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = kernels.standardized_linear(x, standardize, linear)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, atol=0.05, rtol=0.05)
    got.float().sum().backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.dtype == torch.float32


def test_plain_operations_where_they_are_recorded() -> None:
    edges = sparse_edges(1)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gat = GAT(WIDTH, WIDTH, HEADS)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.gat(x, x, edges, attention=False)[0]
            return out

    layer = Layer().eval()
    x = torch.randn(2, NODES, WIDTH)
    traced = torch.jit.trace(layer, x, check_trace=False)
    assert "PythonOp" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), layer(x))
