"""timm and Transformers, beside a build of torchvision that does not load."""

from __future__ import annotations

import functools
from types import ModuleType

import torch


@functools.cache
def timm() -> ModuleType:
    """Import timm."""
    _name_operators()
    import timm

    return timm


@functools.cache
def transformers() -> ModuleType:
    """Import Transformers, which takes 5 s."""
    _name_operators()
    import transformers

    return transformers


@functools.cache
def _name_operators() -> None:
    """Make torchvision importable, which both need.

    Its wheel on PyPI is linked to CUDA, and beside a CPU build of torch its operators are missing.
    Nobody here uses them, but their names must exist while it is imported.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        lib = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            lib.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(lib)


# an operator lives as long as its library
_KEPT: list[torch.library.Library] = []
