"""timm, beside a build of torchvision that does not load."""

from __future__ import annotations

import functools
from types import ModuleType

import torch


@functools.cache
def timm() -> ModuleType:
    """Import timm.

    Its wheel needs torchvision; that of PyPI is linked to CUDA, and beside a CPU build of torch its
    operators are missing. timm uses none of them, but their names must exist while it is imported.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        lib = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            lib.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(lib)
    import timm

    return timm


# an operator lives as long as its library
_KEPT: list[torch.library.Library] = []
