"""Features of all frames as tensors, and batches taken from them.

Shape letters: R frames of all clips (rows), B clips or windows of a batch, T frames of each,
E embedding features, C map channels, N regions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.reduction import DupFd
from typing import Any, BinaryIO, Self

import numpy as np
import psutil
import torch
from torch import Tensor

from arpgnet.models.arpgnet import MeanStd

# fraction of the accelerator's free memory, and of the machine's, that the features may take
DEVICE_SHARE = 0.5
MEMORY_SHARE = 0.5
# what is standardized, and noised in training
DESCRIBED = ("embedding", "map_vector", "nodes", "parts_embedding", "parts_map", "parts_cells")
# frames read at once for the statistics: 512 of 7 x 7 x 512 in double are 100 MB
CHUNK_ROWS = 512


class Tensors:
    """A dataclass of tensors that move and are listed together."""

    def tensors(self) -> dict[str, Tensor]:
        """Return those that there are."""
        return {name: value for name, value in vars(self).items() if value is not None}

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
    Of a second view parts_embedding [..., E], parts_map [..., C] and, where its tokens are read,
    parts_cells [..., S, C] of its S map cells; None where there is none.
    """

    embedding: Tensor
    map_vector: Tensor
    nodes: Tensor
    node_xy: Tensor
    visible: Tensor
    valid: Tensor
    parts_embedding: Tensor | None = field(default=None, kw_only=True)
    parts_map: Tensor | None = field(default=None, kw_only=True)
    parts_cells: Tensor | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Batch(Frames):
    """A batch of the network's inputs, [B, T, ...], and targets: label of clips, int64 [B] or
    float32 [B, A], or of frames, int64 [B, T] or float32 [B, T, A]; -1 or NaN where there is
    none."""

    label: Tensor

    @property
    def per_frame(self) -> bool:
        """Whether frames have labels, not clips."""
        return self.label.ndim == 2 + self.label.is_floating_point()

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Features(Frames):
    """Features of R frames, [R, ...], in float16; rows of frames that are not `valid` are zero."""

    @property
    def device(self) -> torch.device:
        return self.valid.device

    def take(self, rows_BT: Tensor, label: Tensor) -> Batch:
        """Take the frames of int64 rows [B, T] on the features' device; -1 is padding."""
        index = rows_BT.clamp(min=0).flatten()
        taken = {
            name: value.index_select(0, index).unflatten(0, rows_BT.shape)
            for name, value in self.tensors().items()
        }
        taken["valid"] &= rows_BT >= 0
        return Batch(label=label, **taken)


class SharedFeatures:
    """Features in a file without a name, shared by this process and those that it spawns.

    It is gone with the last of them, however they end. Its pages are the memory of all; where
    there is not enough of that the system writes them to the disk.
    """

    def __init__(
        self, rows: int, metadata: Mapping[str, Any], file: BinaryIO | None = None
    ) -> None:
        self.rows, self.metadata = rows, metadata
        self._file = file or tempfile.TemporaryFile()  # noqa: SIM115

    def __reduce__(self) -> tuple[Any, ...]:
        # while a process is being spawned, and at no other time
        return _opened, (self.rows, self.metadata, DupFd(self._file.fileno()))

    def features(self) -> Features:
        """Map the file as tensors, zeros at first."""
        specs = _specs(self.rows, self.metadata)
        ends = np.cumsum([_aligned(_bytes(*spec)) for spec in specs.values()]).tolist()
        memory = np.memmap(self._file, np.uint8, "r+", shape=(ends[-1],))
        flat = torch.from_numpy(memory)
        tensors = {}
        for (name, (shape, dtype)), start in zip(specs.items(), [0, *ends], strict=False):
            part = flat[start : start + _bytes(shape, dtype)]
            tensors[name] = part.view(dtype).view(shape)
        return Features(**tensors)


def _opened(rows: int, metadata: Mapping[str, Any], descriptor: Any) -> SharedFeatures:
    return SharedFeatures(rows, metadata, os.fdopen(descriptor.detach(), "r+b"))


def empty_features(
    rows: int, metadata: Mapping[str, Any], storage: SharedFeatures | None = None
) -> Features:
    """Allocate zeros for R = `rows` frames; in `storage` where provided, and in a file where they
    would fill the machine's memory."""
    specs = _specs(rows, metadata)
    needed = sum(_bytes(*spec) for spec in specs.values())
    if storage is None and needed > MEMORY_SHARE * psutil.virtual_memory().available:
        storage = SharedFeatures(rows, metadata)
    if storage is not None:
        return storage.features()
    return Features(
        **{name: torch.zeros(shape, dtype=kind) for name, (shape, kind) in specs.items()}
    )


def _specs(
    rows: int, metadata: Mapping[str, Any]
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    regions, (channels, height, width) = len(metadata["names"]), metadata["map_shape"]
    half = torch.float16
    fusion = metadata.get("views")
    parts: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    if fusion:
        parts["parts_embedding"] = (rows, metadata["embedding_dim"]), half
        parts["parts_map"] = (rows, channels), half
    if fusion == "attention":
        parts["parts_cells"] = (rows, height * width, channels), half
    return {
        "embedding": ((rows, metadata["embedding_dim"]), half),
        "map_vector": ((rows, channels), half),
        "nodes": ((rows, regions, channels), half),
        "node_xy": ((rows, regions, 2), torch.float32),
        "visible": ((rows, regions), torch.bool),
        "valid": ((rows,), torch.bool),
        **parts,
    }


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _aligned(count: int) -> int:
    """Round a number of bytes up to whole cache lines."""
    return -(-count // 64) * 64


def place(features: Features, device: torch.device) -> Features:
    """Move features to an accelerator where they fit; else leave them: `batches` streams them."""
    if device.type != "cuda":
        return features
    needed = sum(value.nbytes for value in features.tensors().values())
    free, _ = torch.cuda.mem_get_info(device)
    return features.to(device) if needed <= DEVICE_SHARE * free else features


def batches(
    features: Features, rows: Sequence[Tensor], labels: Sequence[Tensor], device: torch.device
) -> Iterator[Batch]:
    """Yield the batches of int64 rows [B, T] and labels, in order, on `device`.

    Features that do not lie there are gathered by a thread into page-locked memory, one batch
    ahead of the one that is computed, and copied without waiting.
    """
    if features.device.type == device.type:
        here = (concat(device, parts) for parts in (rows, labels))
        for row, label in zip(*here, strict=True):
            yield features.take(row, label)
        return

    def gather(number: int) -> Batch:
        batch = features.take(rows[number], labels[number])
        return batch.pin_memory() if device.type == "cuda" else batch

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(gather, 0) if rows else None
        for number in range(len(rows)):
            assert coming is not None
            batch = coming.result()
            if number + 1 < len(rows):
                coming = thread.submit(gather, number + 1)
            yield batch.to(device)


def concat(device: torch.device, parts: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the tensors on the device, by one copy: each of its own would make the host wait."""
    return torch.cat(list(parts)).to(device).split([len(part) for part in parts])


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each feature over the valid frames of some clips."""

    embedding: MeanStd
    map_vector: MeanStd
    nodes: MeanStd
    parts_embedding: MeanStd | None = None
    parts_map: MeanStd | None = None
    parts_cells: MeanStd | None = None

    def to(self, device: torch.device) -> Statistics:
        known = {name: pair for name, pair in vars(self).items() if pair is not None}
        moved = {name: (mean.to(device), std.to(device)) for name, (mean, std) in known.items()}
        return Statistics(**moved)


def statistics(
    features: Features, rows: Tensor, total: Callable[[Tensor], Tensor] = lambda own: own
) -> Statistics:
    """Compute float32 statistics over valid int64 rows, for `ARPGNet.set_feature_statistics`.

    A feature that does not vary has a standard deviation of exactly 0.

    Args:
        total: adds up a tensor over the processes, each of which has a part of the rows.
    """
    rows = rows.to(features.device)
    parts = rows[features.valid[rows]].split(CHUNK_ROWS)
    by_name: dict[str, MeanStd] = {}
    for name, tensor in features.tensors().items():
        if name not in DESCRIBED:
            continue
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
        by_name[name] = (mean.float(), std.float())
    return Statistics(**by_name)
