"""Inputs of a network: are they there, and on which scale."""

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std per feature, with constants that are set from training data."""

    shift: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """A constant feature (std 0, say a dead channel) becomes 0 rather than infinite."""
        scale = torch.where(std > 0, 1 / std, 0.0)
        self.scale.copy_(scale)
        self.shift.copy_(-mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        # One pass, which also widens float16 features.
        return torch.addcmul(self.shift, x, self.scale)


def required(value: Tensor | None, what: str) -> Tensor:
    """Return the tensor, or raise ValueError when the caller left it out."""
    if value is None:
        raise ValueError(f"this configuration of ARPGNet needs {what}, got None")
    return value
