"""Whether torch can use a CUDA device, and if not, why."""

from __future__ import annotations

from typing import Literal

from pipeline.errors import UserError
from pipeline.gpus import choose_gpus


def use_cuda(asked: Literal["auto", "cpu", "cuda"], setting: str, count: int = 1) -> bool:
    """Whether torch is to compute on a CUDA device; this process then sees `count` of them.

    Args:
        setting: the parameter that asks, for the message.

    Raises:
        UserError: `cuda` is asked for and there is none: a run never falls back in silence.
    """
    import torch

    if asked == "cpu":
        return False
    choose_gpus(count)
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UserError(f"{setting}: cuda, but {why_no_cuda()}; or set {setting}: auto or cpu")
    return found


def why_no_cuda() -> str:
    """Why torch has no CUDA device, and what to do, in words."""
    import torch

    if torch.version.cuda is None:
        remedy = f"{torch.__version__} is a build without CUDA: install a CUDA build (docs/gpu.md)"
    else:
        remedy = "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    return f"torch sees no CUDA device: {remedy}"
