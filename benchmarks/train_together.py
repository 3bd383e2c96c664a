"""An epoch of a data set of AFEW's size, and several seeds trained together.

    python benchmarks/train_together.py [--device cuda] [--clips 773] [--seeds 5] [--out FILE]

Random features of 773 clips (16 frames, 49 regions, 512 channels) lie on the device. Timed are one
epoch of one seed, as it is and replayed from a CUDA graph (on a GPU), and one epoch of all seeds
together: parameters stacked along a leading axis, one `vmap` over runs that each see batches of
their own. On a CPU use fewer clips.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from common import heading, table, write_out
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from train_bound import seconds_of
from train_steps import LR, Clips, Step, autocast, made_features, our_network, our_step, settings

from arpgnet.models import kernels

NAMES = {
    "map_BTC": "map_vector",
    "nodes_BTNC": "nodes",
    "visible_BTN": "visible",
    "valid_BT": "valid",
}


def stacked_step(seeds: int, features: Clips, precision: str) -> Step:
    """One step of R runs with batches index_RB: their losses [R]."""
    networks = [our_network(settings(), seed).to(features.device).train() for seed in range(seeds)]
    template = networks[0]
    state, buffers = stack_module_state(networks)  # type: ignore[arg-type]
    stacked = {name: value.detach().requires_grad_() for name, value in state.items()}
    optimizer = torch.optim.AdamW(
        stacked.values(), lr=LR, fused=True, capturable=features.device.type == "cuda"
    )

    def loss_of(weights: dict, constants: dict, inputs: dict, label: Tensor) -> Tensor:
        logits = functional_call(template, (weights, constants), (), inputs)["logits_BK"]
        return cross_entropy(logits.float(), label)

    losses_of = vmap(loss_of, randomness="different")

    def step(index_RB: Tensor) -> Tensor:
        taken = features.take(index_RB.flatten()).tensors()
        apart = {name: value.unflatten(0, index_RB.shape) for name, value in taken.items()}
        inputs = {ours: apart[theirs] for ours, theirs in NAMES.items()}
        with autocast(features.device, precision):
            loss_R = losses_of(stacked, buffers, inputs, apart["label"])
        loss_R.sum().backward()  # runs share no parameter: each gets its own gradient
        clip_each(list(stacked.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss_R.detach()

    return step


def clip_each(parameters: list[nn.Parameter] | list[Tensor], largest: float) -> None:
    """Clip the gradient's norm of every run by itself."""
    grads = [p.grad.flatten(1) for p in parameters if p.grad is not None]
    norm_R = torch.stack([grad.square().sum(1) for grad in grads]).sum(0).sqrt()
    factor_R = (largest / (norm_R + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor_R[:, None])


def replayed(step: Step, example: Tensor) -> Step:
    """The step as one CUDA graph: a launch a step instead of several hundred."""
    static = example.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(static)

    def replay(index: Tensor) -> Tensor:
        static.copy_(index)
        graph.replay()
        return loss

    return replay


def epoch(step: Step, clips: int, size: int, device: torch.device, runs: int = 0) -> Callable:
    """All full batches in a fresh order; with `runs`, an order for each of them.

    The last, partial batch is left out: a CUDA graph has one shape.
    """

    def once() -> None:
        orders = torch.stack([torch.randperm(clips) for _ in range(max(runs, 1))]).to(device)
        for index_RB in orders.split(size, dim=1):
            if index_RB.shape[1] == size:
                step(index_RB if runs else index_RB[0])

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=773)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    features = made_features(args.clips, device)
    sizes = (args.clips, args.batch, device)
    one = our_step(our_network(settings()), features, args.precision)
    all_runs = stacked_step(args.seeds, features, args.precision)
    first = torch.arange(args.batch, device=device)
    epochs = {"one seed": epoch(one, *sizes)}
    together = f"{args.seeds} seeds together"
    epochs[together] = epoch(plain(all_runs), *sizes, runs=args.seeds)
    if device.type == "cuda":
        graphed = replayed(one, first)
        epochs["one seed, CUDA graph"] = epoch(graphed, *sizes)
        graphed = replayed(plain(all_runs), first.repeat(args.seeds, 1))
        epochs[f"{together}, CUDA graph"] = epoch(graphed, *sizes, runs=args.seeds)
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(args.rounds + 1):
        for name, once in epochs.items():
            seconds = seconds_of(once, device)
            if number:
                times[name].append(seconds)
    alone = statistics.median(times["one seed"])
    rows = [
        [name, f"{statistics.median(t):.3f} ({min(t):.3f})", f"{statistics.median(t) / alone:.1f}"]
        for name, t in times.items()
    ]
    text = (
        heading("Seeds trained together", ["torch"], "benchmarks/train_together.py")
        + f"\n{args.clips} clips, batches of {args.batch}, {args.precision}, median (fastest) of "
        f"{args.rounds} epochs without augmentation:\n\n"
        + table(["epoch of", "seconds", "times one seed"], rows)
    )
    write_out(text, args.out)


def plain(step: Step) -> Step:
    """`vmap` sees plain operations: the pieces of the CPU have no rule for it."""

    def run(index: Tensor) -> Tensor:
        usual = kernels.applies
        kernels.applies = lambda x: False
        try:
            return step(index)
        finally:
            kernels.applies = usual

    return run


if __name__ == "__main__":
    main()
