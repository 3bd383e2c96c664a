"""Time a whole training step of ARPGNet against the same network in PyTorch Geometric.

    python benchmarks/train.py [--device cpu] [--batch 32] [--rounds 15] [--threads 2]
        [--batches 32 64 128 256] [--out FILE]

Forward, backward, gradient clipping and optimizer at T = 16 frames, 49 regions, 512 channels and
the other settings of params.yaml, in float32 and under bfloat16 autocast. Both networks have the
same weights and run in the same process in interleaved rounds; their losses over 20 steps are
checked to agree first. Then: how far from the machine's bound, at growing batches. With one thread
CPU time is measured, which other load on the machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from common import heading, table, write_out
from torch import Tensor
from train_bound import Machine, Part, measure_machine, parts, seconds_of
from train_steps import (
    FRAMES,
    Clips,
    Step,
    losses,
    made_features,
    our_network,
    our_step,
    settings,
    their_network,
    their_step,
)

PRECISIONS = ("fp32", "bf16")
AGREE = 1e-4
STEPS = 20
# the smallest batch whose clips a second are within this share of the best is the largest useful
USEFUL = 0.97


def batches(clips: int, size: int, device: torch.device, seed: int = 0) -> Iterator[Tensor]:
    """Endless batches of distinct clips."""
    shuffle = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(clips, generator=shuffle).to(device).split(size)[: clips // size]


def agreement(features: Clips, size: int) -> float:
    """Largest difference of the two networks' losses over the first steps, without dropout."""
    ours = our_network(settings(dropout=False))
    theirs = their_network(ours)
    drawn = batches(len(features), size, features.device)
    chosen = [next(drawn) for _ in range(STEPS)]
    mine = losses(our_step(ours, features, "fp32"), chosen)
    other = losses(their_step(theirs, features, "fp32"), chosen)
    return (mine - other).abs().max().item()


def interleaved(
    steps: dict[str, Step], features: Clips, size: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each step in each round; every step sees the same batches."""
    drawn = batches(len(features), size, features.device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 2):
        index = next(drawn)
        for name, step in steps.items():
            seconds = seconds_of(partial(step, index), features.device)
            if round_number >= 2:  # the first ones allocate
                times[name].append(1e3 * seconds)
    return times


def comparison(features: Clips, size: int, rounds: int) -> str:
    """Ours against PyTorch Geometric's, in both precisions."""
    params = settings()
    steps: dict[str, Step] = {}
    for precision in PRECISIONS:
        network = our_network(params)
        steps[f"PyG {precision}"] = their_step(their_network(network), features, precision)
        steps[f"ours {precision}"] = our_step(network, features, precision)
    times = interleaved(steps, features, size, rounds)
    rows = []
    for precision in PRECISIONS:
        ours, theirs = times[f"ours {precision}"], times[f"PyG {precision}"]
        # of one round, so that both met the same load on the machine
        ratios = [other / mine for mine, other in zip(ours, theirs, strict=True)]
        rows.append(
            [
                precision,
                f"{statistics.median(theirs):.0f} ({min(theirs):.0f})",
                f"{statistics.median(ours):.0f} ({min(ours):.0f})",
                f"{statistics.median(ratios):.1f} ({min(theirs) / min(ours):.1f})",
            ]
        )
    single = statistics.median(times["PyG fp32"]) / statistics.median(times["ours bf16"])
    return (
        table(["precision", "PyG ms", "ours ms", "PyG / ours"], rows)
        + f"\nOurs in bf16 against PyG in fp32: {single:.1f}.\n"
    )


def shares(features: Clips, rounds: int, sizes: list[int], machine: Machine) -> str:
    """Time of our step against the bound at growing batches, and the largest useful one."""
    rows = []
    for precision in PRECISIONS:
        network = our_network(settings())
        step = our_step(network, features, precision)
        speeds = []
        for size in sizes:
            ms = min(interleaved({"ours": step}, features, size, rounds)["ours"])
            least = bound_ms(parts_of(network, size, precision), machine, precision)
            speeds.append(size / ms)
            rows.append(
                [precision, size, f"{ms:.0f}", f"{1e3 * size / ms:.0f}", f"{least:.1f}",
                 f"{100 * least / ms:.0f} %"]
            )  # fmt: skip
        useful = next(
            size for size, speed in zip(sizes, speeds, strict=True) if speed >= USEFUL * max(speeds)
        )
        rows[-len(sizes) + sizes.index(useful)][1] = f"{useful}, largest useful"
    header = ["precision", "batch", "ms (fastest)", "clips/s", "bound, ms", "share reached"]
    return table(header, rows)


def parts_of(network: torch.nn.Module, size: int, precision: str) -> list[Part]:
    return parts(network, size, FRAMES, 4 if precision == "fp32" else 2)


def bound_ms(counted: list[Part], machine: Machine, precision: str) -> float:
    return 1e3 * sum(machine.seconds(part, precision) for part in counted)


def bound(size: int, machine: Machine) -> str:
    """Multiply-adds and bytes of each part of a step, and the least time they take."""
    network = our_network(settings())
    counted = {precision: parts_of(network, size, precision) for precision in PRECISIONS}
    rows = [
        [
            single.name,
            f"{single.multiply_adds / 1e6:.0f}",
            f"{single.bytes / 1e6:.1f} / {half.bytes / 1e6:.1f}",
            f"{1e3 * machine.seconds(single, 'fp32'):.1f} / "
            f"{1e3 * machine.seconds(half, 'bf16'):.1f}",
        ]
        for single, half in zip(*counted.values(), strict=True)
    ]
    rates = {name: f"{rate / 1e9:.0f} G/s" for name, rate in machine.multiply_adds.items()}
    return (
        f"Peak, measured in this run: {rates['fp32']} multiply-adds in fp32, {rates['bf16']} in "
        f"bf16 (square matrix product), {machine.bandwidth / 1e9:.0f} GB/s (copy, in and out)\n\n"
        + table(
            ["part of a step", "million multiply-adds", "MB, fp32 / bf16", "ms, fp32 / bf16"], rows
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    features = made_features(max(256, args.batch, *args.batches), device)
    difference = agreement(features, args.batch)
    assert difference < AGREE, f"losses differ by {difference:.1e}"
    machine = measure_machine(device)
    text = (
        heading(
            "A training step against PyTorch Geometric",
            ["torch", "torch-geometric"],
            "benchmarks/train.py",
        )
        + f"- Reference: `benchmarks/pyg_arpgnet.py`, the same network with `GATConv` over a "
        f"`Batch` of per-frame `Data` objects. Losses over {STEPS} steps from the same weights "
        f"differ by at most {difference:.0e}.\n\n"
        f"Batch {args.batch}, median (fastest) of {args.rounds} interleaved rounds; the ratio is "
        "the median of the rounds' ratios (of the fastest):\n\n"
        + comparison(features, args.batch, args.rounds)
        + "\n## Distance from the bound\n\n"
        + bound(args.batch, machine)
        + "\n"
        + shares(features, max(args.rounds // 2, 3), args.batches, machine)
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
