"""Which number format the appearance network is run in on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.faces.network import Precision
from pipeline.faces.sessions import CPU, Device, choose_provider

# AMD since Zen 4; Intel since Cooper Lake, and as matrices since Sapphire Rapids
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
CPU_INFO = Path("/proc/cpuinfo")


def resolve_precision(asked: Literal["auto", "fp32", "bf16"], device: Device) -> Precision:
    """`auto` is bf16 where products of bfloat16 are fast: part of the appearance stage's key.

    One core of an AMD EPYC with avx512_bf16, 16 crops at a time: MobileFaceNet takes 3.3 ms a crop
    in torch bf16, 4.8 ms in ONNX Runtime fp32.
    """
    if asked != "auto":
        return asked
    if choose_provider(device) == CPU:
        return "bf16" if _cpu_has_bf16() else "fp32"
    # imported here: torch takes 2 s, and a processor tells by itself
    import torch

    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def _cpu_has_bf16() -> bool:
    """As Linux tells on x86-64; elsewhere no, which is safe and may be slower."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not CPU_FLAGS.isdisjoint(flags.split())
