"""What a training step must do at least, and how fast this machine can do it.

Counted are the products that the mathematics needs (attention over edges, not over all pairs of
nodes; no gradient of the input features) and the numbers that must cross memory when every layer
is one perfect kernel: it reads its input and writes its output once, forward, and once more reads
what it needs and writes the input's gradient, backward. The bound of a part is the longer of its
two times, and the step's bound is the sum over its parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from arpgnet.models.arpgnet import ARPGNet


@dataclass(frozen=True)
class Part:
    """Multiply-adds and bytes of one training step's part."""

    name: str
    multiply_adds: float
    bytes: float


def parts(network: ARPGNet, batch: int, frames: int, number_bytes: int) -> list[Part]:
    """The parts of one step.

    Args:
        number_bytes: of an activation between layers: 4 in float32, 2 in bfloat16.
    """
    config = network.config
    width, channels = config.width, config.map_channels
    adjacency_NN = network.relation.get_buffer("adjacency_NN")
    nodes, edges = len(adjacency_NN), int(adjacency_NN.sum())
    graphs = batch * frames
    rows = graphs * nodes
    features = 2 * rows * channels  # float16
    activation = number_bytes * rows * width
    frame = number_bytes * graphs * width
    window = config.fusion.window
    seen = 2 * frames * (2 * (frames if window is None or window < 0 else window) + 1)
    stored = sum(p.numel() for p in network.parameters())
    layer = 3 * (rows * width * width + graphs * edges * width)
    # own and other keys are projected anew for each stream's queries
    fusion = 3 * (2 * graphs * width * width * (2 + 8) + 2 * batch * seen * width)
    return [
        # forward and the weight's gradient; the features are read in both
        Part("projection of region features", 2 * rows * channels * width,
             2 * features + 2 * activation),
        Part("graph attention", config.relation.layers * layer,
             config.relation.layers * 5 * activation),
        Part("readout", 3 * graphs * nodes * width * width, 3 * activation + 2 * frame),
        Part("projection of appearance", 2 * graphs * channels * width,
             4 * graphs * channels + 2 * frame),
        Part("fusion", config.fusion.layers * fusion, config.fusion.layers * 2 * 5 * frame),
        # read: weight, gradient, two moments; written: all but the gradient, and the gradient
        Part("optimizer", 0, 4 * stored * 8),
    ]  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Multiply-adds a second of the whole machine in a square matrix product, bytes of a copy."""

    multiply_adds: dict[str, float]
    bandwidth: float

    def seconds(self, part: Part, precision: str) -> float:
        return max(part.multiply_adds / self.multiply_adds[precision], part.bytes / self.bandwidth)


def measure_machine(device: torch.device, rounds: int = 12) -> Machine:
    """The best of several rounds, with the threads and the device that the steps run on."""
    side = 2048 if device.type == "cpu" else 8192
    rates = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=device).to(dtype)
        rates[precision] = side**3 / fastest(lambda a=a: a @ a, device, rounds)
    source = torch.randn(2**26, device=device)
    target = torch.empty_like(source)
    seconds = fastest(lambda: target.copy_(source), device, rounds)
    return Machine(rates, 2 * source.nbytes / seconds)


def fastest(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    return min(seconds_of(run, device) for _ in range(rounds))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall time, or the device's own between two events.

    With one thread it is CPU time, which other load on the machine disturbs much less.
    """
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = clock()
    run()
    return clock() - begin
