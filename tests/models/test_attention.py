"""The batched layers against PyTorch Geometric, and the pair scores against autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GATConv, GATv2Conv

from arpgnet.models import attention, kernels
from arpgnet.models.attention import (
    CONVS,
    GAT,
    DotAttention,
    Edges,
    GATv2,
)
from arpgnet.models.kernels import candidate_keys

PAIRS = {"gat": (GAT, GATConv), "gatv2": (GATv2, GATv2Conv)}


def random_graph(nodes: int, seed: int, density: float = 0.3) -> Tensor:
    """Bool [target, source] with self-loops, directed."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(nodes, nodes, generator=generator) < density
    return mask | torch.eye(nodes, dtype=torch.bool)


def edges_of(mask_GQS: Tensor) -> Edges:
    union_QS = mask_GQS.any(0)
    return Edges(mask_GQS, candidate_keys(union_QS, int(union_QS.sum(1).max())))


def block_diagonal(mask_GQS: Tensor) -> Tensor:
    """PyG's edge_index (source, target) of all graphs as one."""
    graph, target, source = mask_GQS.nonzero(as_tuple=True)
    nodes = mask_GQS.shape[1]
    return torch.stack([source + graph * nodes, target + graph * nodes])


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("same_topology", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_equals_pyg_forward_and_gradients(
    conv: str, heads: int, same_topology: bool, dtype: torch.dtype, close: float
) -> None:
    torch.manual_seed(0)
    graphs, nodes, dim_in, dim_out = 5, 12, 8, 16
    ours_class, theirs_class = PAIRS[conv]
    ours = ours_class(dim_in, dim_out, heads).to(dtype)
    theirs = theirs_class(dim_in, dim_out // heads, heads=heads, add_self_loops=False).to(dtype)
    for parameter in theirs.parameters():  # biases too, which start at zero
        torch.nn.init.normal_(parameter, std=0.5)
    ours.load_state_dict(theirs.state_dict())
    masks = [random_graph(nodes, 0 if same_topology else seed) for seed in range(graphs)]
    mask_GQS = torch.stack(masks)

    x = torch.randn(graphs, nodes, dim_in, dtype=dtype, requires_grad=True)
    grad = torch.randn(graphs, nodes, dim_out, dtype=dtype)
    out, alpha = ours(x, x, edges_of(mask_GQS[:1] if same_topology else mask_GQS))
    got = torch.autograd.grad(out, [x, *ours.parameters()], grad)
    reference = theirs(x.flatten(0, 1), block_diagonal(mask_GQS)).unflatten(0, (graphs, nodes))
    # parameters by name: the two classes register them in different orders
    named = dict(theirs.named_parameters())
    ordered = [named[name] for name, _ in ours.named_parameters()]
    expected = torch.autograd.grad(reference, [x, *ordered], grad)

    torch.testing.assert_close(out, reference, atol=close, rtol=close)
    for mine, other in zip(got, expected, strict=True):  # sums with cancellation: to the largest
        torch.testing.assert_close(mine, other, atol=close * float(other.abs().max()), rtol=close)
    assert alpha.shape == (graphs, heads, nodes, nodes)


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
def test_attention_weights_equal_pyg(conv: str) -> None:
    torch.manual_seed(1)
    ours_class, theirs_class = PAIRS[conv]
    theirs = theirs_class(6, 4, heads=2, add_self_loops=False)
    ours = ours_class(6, 8, 2)
    ours.load_state_dict(theirs.state_dict())
    mask_QS = random_graph(9, seed=3)
    x = torch.randn(9, 6)
    source_target = block_diagonal(mask_QS[None])
    _, (edge_index, weight_EH) = theirs(x, source_target, return_attention_weights=True)
    _, alpha_GHQS = ours(x[None], x[None], edges_of(mask_QS[None]))
    source, target = edge_index
    torch.testing.assert_close(alpha_GHQS[0][:, target, source].T, weight_EH, atol=1e-6, rtol=1e-5)
    assert (alpha_GHQS[0][:, ~mask_QS] == 0).all()


def test_dot_equals_torch_scaled_dot_product() -> None:
    torch.manual_seed(0)
    layer = DotAttention(8, 16, 4)
    query, key = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    mask = torch.rand(3, 5, 7) < 0.5
    mask[..., 0] = True

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (4, 4)).transpose(1, 2)

    expected = torch.nn.functional.scaled_dot_product_attention(
        heads(layer.lin_query(query)),
        heads(layer.lin_key(key)),
        heads(layer.lin_value(key)),
        attn_mask=mask[:, None],
    )
    out, _ = layer(query, key, edges_of(mask))
    torch.testing.assert_close(out, expected.transpose(1, 2).flatten(2), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("conv", list(CONVS))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 9), graphs=st.integers(1, 4))
def test_rows_sum_to_one_and_masked_keys_have_no_say(
    conv: attention.ConvName, seed: int, nodes: int, graphs: int
) -> None:
    torch.manual_seed(seed)
    layer = CONVS[conv](4, 8, 2)
    mask = torch.stack([random_graph(nodes, seed + g) for g in range(graphs)])
    x = torch.randn(graphs, nodes, 4)
    out, alpha = layer(x, x, edges_of(mask))
    torch.testing.assert_close(alpha.sum(-1), torch.ones(graphs, 2, nodes))
    assert (alpha.masked_select(~mask[:, None].expand_as(alpha)) == 0).all()
    # a key that node 0 cannot see may change at will
    changed = torch.where(mask[:, 0, :, None], x, x + 100 * torch.randn_like(x))
    again, _ = layer(x, changed, edges_of(mask))
    torch.testing.assert_close(again[:, 0], out[:, 0])


@pytest.mark.parametrize("chunk_floats", [1, 400, 10**9])
def test_pair_score_gradients_in_any_chunking(
    chunk_floats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PAIR_CHUNK", {"cpu": chunk_floats, "other": chunk_floats})
    torch.manual_seed(0)
    neighbors = candidate_keys(random_graph(6, seed=1)[:4], 5)
    left, right, att = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in [(3, 6, 8), (3, 4, 8), (2, 4)]
    )
    assert torch.autograd.gradcheck(kernels.PairScore.apply, (left, right, att, neighbors))


def test_candidate_keys_cover_each_row_once() -> None:
    mask = random_graph(20, seed=5)
    width = int(mask.sum(1).max())
    listed = candidate_keys(mask, width)
    assert listed.shape == (20, width)
    for row, keys in zip(mask, listed, strict=True):
        assert set(row.nonzero()[:, 0].tolist()) <= set(keys.tolist())
        assert len(set(keys.tolist())) == width


@pytest.mark.parametrize("conv", list(CONVS))
def test_bfloat16_autocast_stays_close(conv: attention.ConvName) -> None:
    torch.manual_seed(0)
    layer = CONVS[conv](8, 16, 4)
    x = torch.randn(4, 10, 8, requires_grad=True)
    edges = edges_of(random_graph(10, seed=0)[None])
    exact, _ = layer(x, x, edges)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, alpha = layer(x, x, edges)
    assert alpha.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
    rounded.float().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("conv", list(CONVS))
def test_attention_dropout_acts_in_training_only(conv: attention.ConvName) -> None:
    torch.manual_seed(0)
    layer = CONVS[conv](8, 16, 4, dropout=0.5)
    x = torch.randn(2, 6, 8)
    edges = edges_of(random_graph(6, seed=0)[None])
    assert not torch.equal(layer(x, x, edges)[0], layer(x, x, edges)[0])
    layer.eval()
    assert torch.equal(layer(x, x, edges)[0], layer(x, x, edges)[0])


@pytest.mark.parametrize("conv", list(CONVS))
def test_heads_must_divide_the_width(conv: attention.ConvName) -> None:
    with pytest.raises(ValueError, match="10 does not divide into 4"):
        CONVS[conv](8, 10, 4)
