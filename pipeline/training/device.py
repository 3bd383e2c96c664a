"""Device, precision, processes and everything else that makes a run repeatable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import distributed

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.gpus import use_cuda
from arpgnet.pipeline.common.params import FinetuneParams, PretrainParams, TrainParams

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# glibc's names of two settings, see `keep_freed_memory`
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30
# what the C library takes of the second before its version 2.35
_OLD_MOST_BYTES = 1 << 25


def alone(params: TrainParams) -> bool:
    """Check whether one process trains on the CPU, where runs may go side by side."""
    return (
        "TORCHELASTIC_RUN_ID" not in os.environ
        and params.devices == 1
        and resolve_device(params)[0] == "cpu"
    )


def resolve_device(params: TrainParams | FinetuneParams | PretrainParams) -> tuple[str, str]:
    """Return the device type and precision that `auto` stands for here.

    Returns:
        `("cpu" | "cuda", "32-true" | "bf16-mixed")`.

    Raises:
        UserError: `device: cuda` without such a device.
    """
    sections = {FinetuneParams: "finetune", PretrainParams: "pretrain"}
    section = sections.get(type(params), "train")
    devices = params.devices if isinstance(params, TrainParams) else 1
    device = "cuda" if use_cuda(params.device, f"{section}.device", devices) else "cpu"
    if params.precision != "auto":
        return device, params.precision
    fast = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return device, "bf16-mixed" if fast else "32-true"


def make_fabric(params: TrainParams) -> Fabric:
    """Launch Lightning Fabric: `train.devices` of a kind, or what torchrun has started.

    Raises:
        UserError: there are not as many devices.
    """
    # 1.4 s, which explain and predict need not wait for
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    device, precision = resolve_device(params)
    here, nodes = params.devices, 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // here
    if device == "cuda" and here > torch.cuda.device_count():
        raise UserError(f"{here} processes, but {torch.cuda.device_count()} CUDA devices here")
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=nodes,
        # the network's buffers are constants
        strategy=DDPStrategy(broadcast_buffers=False) if here * nodes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def total(fabric: Fabric, own: torch.Tensor) -> torch.Tensor:
    """Return the sum of every process's tensor of the same shape, in place.

    Of rows that one process knows and the others have zeros for, it is exact.
    """
    if fabric.world_size > 1:
        here = own.to(fabric.device)
        distributed.all_reduce(here)
        own.copy_(here)
    return own


@contextmanager
def reproducible(threads: int, *, algorithms: bool = True) -> Iterator[None]:
    """Make equal seeds give equal bits inside; restore the process's own settings after it.

    Args:
        threads: sums are split over them, so their number is part of the result: it must not
            depend on how many cores there are.
        algorithms: ask torch for deterministic ones, which imports its compiler (2 s); on a CPU
            nothing but training has others.
    """
    # cuBLAS reads it when its first handle is made
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
    )
    if algorithms:
        _apply(threads, True, False, False)
    else:
        torch.set_num_threads(threads)
    try:
        # the caller's random numbers are not ours to move
        with torch.random.fork_rng():
            yield
    finally:
        if algorithms:
            _apply(*before)
        else:
            torch.set_num_threads(before[0])


def keep_freed_memory() -> None:
    """Have the C library reuse what was freed instead of giving it back; for a whole process.

    A training step takes and frees some 200 MB. Of fresh pages the system fills each with zeros:
    up to 20,000 of them a step, 3 us each, where a step takes 150 ms.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        if not mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES):
            mallopt(_M_MMAP_THRESHOLD, _OLD_MOST_BYTES)


def _apply(threads: int, deterministic: bool, fill: bool, benchmark: bool) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # filling finds reads of memory that was never written; it costs time and changes no result
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = benchmark
