"""Time our graph attention against PyTorch Geometric's on one fixed 49-node region graph.

Both run forward and backward on the same weights, the same input and in the same process, in
interleaved rounds; outputs and gradients are checked to be equal first. PyG gets its best case: the
block-diagonal edge list of all graphs is built once, outside the timing.

    python benchmarks/graph_attention.py [--graphs 512] [--width 64] [--rounds 7] [--threads 2]

Prints a markdown table: median milliseconds of a forward and backward pass, and their ratio.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv

from arpgnet.models.attention import GAT, Edges, GATv2
from arpgnet.models.kernels import candidate_keys

GRID = 7
Step = Callable[[], list[Tensor]]


def grid_mask(neighborhood: int) -> Tensor:
    """Bool [49, 49]: self-loops, the 4 or 8 adjacent cells, and the mirror column."""
    row = torch.arange(GRID).repeat_interleave(GRID)
    column = torch.arange(GRID).repeat(GRID)
    down = (row[:, None] - row).abs()
    across = (column[:, None] - column).abs()
    near = down + across <= 1 if neighborhood == 4 else torch.maximum(down, across) <= 1
    return near | ((down == 0) & (column[:, None] == GRID - 1 - column))


def step(module: nn.Module, x: Tensor, run: Callable[[], Tensor]) -> Step:
    """One forward and backward pass: the output, then gradients of input and parameters by name."""
    named = sorted(module.named_parameters())
    inputs = [x, *(parameter for _, parameter in named)]
    gradient = torch.randn(*run().shape, generator=torch.Generator().manual_seed(1))

    def once() -> list[Tensor]:
        out = run()
        return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]

    return once


def pair(conv: str, mask: Tensor, graphs: int, width: int, heads: int) -> dict[str, Step]:
    """The same layer twice, ours and PyG's, as steps of equal result."""
    nodes = len(mask)
    ours = {"GAT": GAT, "GATv2": GATv2}[conv](width, width, heads)
    theirs = {"GAT": GATConv, "GATv2": GATv2Conv}[conv](
        width, width // heads, heads=heads, add_self_loops=False
    )
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(graphs, nodes, width, requires_grad=True)
    edges = Edges(mask[None], candidate_keys(mask, int(mask.sum(1).max())))
    target, source = mask.nonzero(as_tuple=True)
    offset = torch.arange(graphs)[:, None] * nodes
    edge_index = torch.stack([(source + offset).flatten(), (target + offset).flatten()])
    return {
        "ours": step(ours, x, lambda: ours(x, x, edges)[0]),
        "PyG": step(theirs, x, lambda: theirs(x.flatten(0, 1), edge_index).view_as(x)),
    }


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Outputs to 1e-5; gradients, which sum over thousands of nodes, to 1e-5 of their largest."""
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5 * float(other.abs().max()), rtol=1e-4)


def median_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=512)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    print(
        f"{args.graphs} graphs of {GRID * GRID} nodes, width {args.width}, {args.heads} heads, "
        f"float32, {args.threads} threads, torch {torch.__version__}, {platform.machine()}; "
        f"median of {args.rounds} interleaved rounds\n"
    )
    print("| layer | grid | edges | PyG ms | ours ms | PyG / ours |")
    print("|---|---|---|---|---|---|")
    for neighborhood in (4, 8):
        mask = grid_mask(neighborhood)
        for conv in ("GAT", "GATv2"):
            steps = pair(conv, mask, args.graphs, args.width, args.heads)
            assert_equal(steps["ours"](), steps["PyG"]())
            ms = median_ms(steps, args.rounds)
            print(
                f"| {conv} | {neighborhood}-neighbor + mirror | {int(mask.sum())} "
                f"| {ms['PyG']:.0f} | {ms['ours']:.0f} | {ms['PyG'] / ms['ours']:.1f} |"
            )


if __name__ == "__main__":
    main()
