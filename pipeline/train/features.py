"""Features of all frames as tensors, and batches taken from them.

Shape letters: R frames of all clips (rows), B clips or windows of a batch, T frames of each,
E embedding features, C map channels, N regions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import psutil
import torch
from torch import Tensor

from models.arpgnet import Moments

# share of the accelerator's free memory, and of the machine's, that the features may take
DEVICE_SHARE = 0.5
MEMORY_SHARE = 0.5
# frames read at once for the moments: 512 of 7 x 7 x 512 in double are 100 MB
CHUNK_ROWS = 512


class Tensors:
    """A dataclass of tensors that move and are listed together."""

    def tensors(self) -> dict[str, Tensor]:
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Self:
        moved = {
            name: value.to(device, non_blocking=True) for name, value in self.tensors().items()
        }
        return type(self)(**moved)

    def pin_memory(self) -> Self:
        return type(self)(**{name: value.pin_memory() for name, value in self.tensors().items()})


@dataclass(frozen=True)
class Frames(Tensors):
    """What is known of frames; of those that are not `valid` it is finite and ignored.

    Shapes and dtypes, with leading axes that the classes below say: embedding [..., E], map_vector
    [..., C] (the map averaged over its cells) and nodes [..., N, C] (`pool_nodes`) float16 or
    float32; node_xy float32 [..., N, 2] in 0..1 of the crop; visible [..., N] and valid [...] bool.
    """

    embedding: Tensor
    map_vector: Tensor
    nodes: Tensor
    node_xy: Tensor
    visible: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Batch(Frames):
    """What the network is given, [B, T, ...], and what it should say: label int64 [B] of clips or
    [B, T] of frames, -1 where there is none."""

    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Features(Frames):
    """Features of R frames, [R, ...], in float16; rows of frames that are not `valid` are zero."""

    @property
    def device(self) -> torch.device:
        return self.valid.device

    def take(self, rows_BT: Tensor, label: Tensor) -> Batch:
        """The frames of int64 rows [B, T], on the features' device; -1 is padding: not valid."""
        index = rows_BT.clamp(min=0).flatten()
        taken = {
            name: value.index_select(0, index).unflatten(0, rows_BT.shape)
            for name, value in self.tensors().items()
        }
        taken["valid"] &= rows_BT >= 0
        return Batch(label=label, **taken)


def empty_features(rows: int, facts: Mapping[str, Any]) -> Features:
    """Zeros for R = `rows` frames; in a file that is gone with the process where they would fill
    the machine's memory."""
    regions, channels = len(facts["names"]), facts["map_shape"][0]
    half = torch.float16
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "embedding": ((rows, facts["embedding_dim"]), half),
        "map_vector": ((rows, channels), half),
        "nodes": ((rows, regions, channels), half),
        "node_xy": ((rows, regions, 2), torch.float32),
        "visible": ((rows, regions), torch.bool),
        "valid": ((rows,), torch.bool),
    }
    needed = sum(torch.Size(shape).numel() * kind.itemsize for shape, kind in shapes.values())
    make = _zeros if needed <= MEMORY_SHARE * psutil.virtual_memory().available else _mapped
    return Features(**{name: make(*spec) for name, spec in shapes.items()})


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def _mapped(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in a sparse temporary file; unlinked at once, it lives as long as the tensor."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "features")
        numbers = torch.Size(shape).numel()
        flat = torch.from_file(file, shared=True, size=numbers, dtype=dtype)
    return flat.view(shape)


def place(features: Features, device: torch.device) -> Features:
    """On an accelerator where they fit, else where they are: `feed` streams them from there."""
    if device.type != "cuda":
        return features
    needed = sum(value.nbytes for value in features.tensors().values())
    free, _ = torch.cuda.mem_get_info(device)
    return features.to(device) if needed <= DEVICE_SHARE * free else features


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each feature over the valid frames of some clips."""

    embedding: Moments
    map_vector: Moments
    nodes: Moments

    def to(self, device: torch.device) -> Statistics:
        moved = {
            item.name: (
                getattr(self, item.name)[0].to(device),
                getattr(self, item.name)[1].to(device),
            )
            for item in fields(self)
        }
        return Statistics(**moved)


def statistics(
    features: Features, rows: Tensor, total: Callable[[Tensor], Tensor] = lambda own: own
) -> Statistics:
    """Moments for `ARPGNet.set_feature_statistics`, float32; of the valid ones of int64 `rows`.

    A feature that does not vary has a standard deviation of exactly 0.

    Args:
        total: adds up a tensor over the processes that hold a part of the rows each.
    """
    rows = rows.to(features.device)
    parts = rows[features.valid[rows]].split(CHUNK_ROWS)
    moments: dict[str, Moments] = {}
    for name in ("embedding", "map_vector", "nodes"):
        tensor = features.tensors()[name]
        # double: the difference of two large sums loses digits in single precision
        sums = tensor.new_zeros((3, tensor.shape[-1]), dtype=torch.float64)
        for part in parts:
            values = tensor[part].double().flatten(0, -2)
            sums[0] += values.sum(0)
            sums[1] += values.square().sum(0)
            sums[2] += len(values)
        linear, squares, count = total(sums)
        mean = linear / count
        variance = squares / count - mean.square()
        # float16 cannot vary by less than 5e-4 of its value: what is far below that is rounding
        std = torch.where(variance > 1e-9 * squares / count, variance, 0.0).sqrt()
        moments[name] = (mean.float(), std.float())
    return Statistics(**moments)
