"""What the trained part of the network takes: crops, or cached activations of the frozen part.

The frozen part is run once on each still: plain for validation, and on `finetune.views` augmented
views for training. Neither depends on the other stills, their order or `finetune.seed`.

N stills, V views, B stills of a batch; an activation is [C, H, W].
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, fx
from torch.fx.experimental.optimization import fuse

from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.finetune.augment import augment, augments
from arpgnet.pipeline.finetune.data import Stills
from arpgnet.pipeline.finetune.network import Frozen
from arpgnet.pipeline.networks.image_network import resolve_precision
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.torch_graph import to_bfloat16
from arpgnet.pipeline.store import Store, code_version, digest, folder_of

NAMESPACE = "activations"


class Inputs(Protocol):
    """Batches for `Trainee`, float32 on the training device."""

    def augmented(self, rows: np.ndarray, draws: torch.Generator) -> Tensor:
        """Return stills as training sees them this time."""

    def plain(self, rows: np.ndarray) -> Tensor:
        """Return stills as they are."""


class Crops:
    """Crops in 0..255, float32 [B, 3, S, S], for a network that is trained as a whole."""

    def __init__(self, stills: Stills, params: FinetuneParams, device: torch.device) -> None:
        self._crops, self._params, self._device = stills.crops, params, device

    def augmented(self, rows: np.ndarray, draws: torch.Generator) -> Tensor:
        return augment(self.plain(rows), self._params, draws)

    def plain(self, rows: np.ndarray) -> Tensor:
        crops = torch.from_numpy(self._crops[rows]).to(self._device)
        return crops.permute(0, 3, 1, 2).float()


class Activations:
    """Activations, float32 [B, C, H, W] with the channels last in memory.

    Args:
        frozen: of the network `spec`, cut as `params.layers` says.
        store: has what was computed before.
    """

    def __init__(
        self,
        frozen: Frozen,
        spec: ModelSpec,
        stills: Stills,
        params: FinetuneParams,
        device: torch.device,
        store: Store,
    ) -> None:
        self._device = device
        run = FrozenRun(frozen, spec, params, device, store)
        folder = folder_of(store.root)
        views = run.views
        self._train = _Part(run, stills.crops, stills.train, views, folder)
        self._val = _Part(run, stills.crops, stills.val, 0, folder)

    def augmented(self, rows: np.ndarray, draws: torch.Generator) -> Tensor:
        views = torch.randint(self._train.views, (len(rows),), generator=draws, device=draws.device)
        return self._train.take(rows, views.cpu().numpy(), self._device)

    def plain(self, rows: np.ndarray) -> Tensor:
        return self._val.take(rows, np.zeros(len(rows), np.int64), self._device)


class FrozenRun:
    """Runs the frozen part, or takes what it gave from the store.

    Attributes:
        views: of a training still; 0 where nothing is augmented, and plain stills do.
        shape: of an activation as it is stored, [H, W, C].
    """

    def __init__(
        self,
        frozen: Frozen,
        spec: ModelSpec,
        params: FinetuneParams,
        device: torch.device,
        store: Store,
    ) -> None:
        self.views = params.views if augments(params) else 0
        self._params, self._device, self._store = params, device, store
        self._feeding = frozen.feeding.to(device)
        self._type, self.stored = frozen_types(params, device.type)
        front = frozen.front
        if isinstance(front, fx.GraphModule):
            # batch norms are folded into the convolutions before them
            front = fuse(front)
        if self._type is torch.bfloat16:
            front = to_bfloat16(front)
        front = front.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._front = front.to(device)
        side = spec.input_px
        self.shape = tuple(self._run(torch.zeros(1, 3, side, side, device=device)).shape[1:])
        self._identity = [
            code_version(__name__),
            spec.identity,
            params.layers,
            device.type,
            [str(self._type), str(self.stored)],
        ]

    def __call__(
        self, crops: np.ndarray, rows: np.ndarray, views: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield rows of stills, and their activations as they are stored: [max(V, 1), H, W, C].

        Args:
            views: 0 for plain stills.
        """
        shape = (max(views, 1), *self.shape)
        with track(len(rows), "frozen part", "stills") as progress:
            for row in rows:
                yield (
                    int(row),
                    np.frombuffer(self._still(crops[row], views), self.stored).reshape(shape),
                )
                progress.advance()

    def _still(self, crop: np.ndarray, views: int) -> bytes:
        name = hashlib.sha256(crop.tobytes()).hexdigest()
        key = digest(self._identity, self._augmentation(views), name)
        cached = self._store.get_table(NAMESPACE, key)
        if cached is not None:
            return bytes(pa.concat_tables(cached)["activations"][0].as_py())
        made = self._compute(crop, name, views).tobytes()
        piece = pa.table({"activations": pa.array([made], pa.binary())})
        self._store.put_table(NAMESPACE, key, [piece])
        return made

    def _augmentation(self, views: int) -> list[Any]:
        params = self._params
        return [views, *((params.flip, params.crop, params.color, params.erase) if views else ())]

    def _compute(self, crop: np.ndarray, name: str, views: int) -> np.ndarray:
        """Return a still's views, which depend on nothing but the still."""
        image = torch.from_numpy(crop).permute(2, 0, 1).float()[None]
        if views:
            draws = torch.Generator().manual_seed(int(name[:15], 16))
            image = augment(image.repeat(views, 1, 1, 1), self._params, draws)
        values = self._run(image.to(self._device)).cpu().contiguous()
        if values.dtype is torch.bfloat16:  # which numpy lacks
            values = values.view(torch.int16)
        return values.numpy().view(self.stored)

    @torch.inference_mode()
    def _run(self, crops: Tensor) -> Tensor:
        """Return [n, H, W, C]."""
        images = self._feeding(crops).to(self._type, memory_format=torch.channels_last)
        (activations,) = self._front(images)
        kept = torch.float32 if self.stored == np.float32 else torch.bfloat16
        return activations.to(kept).permute(0, 2, 3, 1)


class _Part:
    """Activations of some stills in a file without a name."""

    def __init__(
        self, run: FrozenRun, crops: np.ndarray, rows: np.ndarray, views: int, folder: Path
    ) -> None:
        self.views = max(views, 1)
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(rows), self.views, *run.shape)
        with tempfile.TemporaryFile(dir=folder) as file:
            self._values = np.memmap(file, run.stored, "w+", shape=shape)
        self._place = np.full(len(crops), -1, np.int64)
        self._place[rows] = np.arange(len(rows))
        for row, value in run(crops, rows, views):
            self._values[self._place[row]] = value

    def take(self, rows: np.ndarray, views: np.ndarray, device: torch.device) -> Tensor:
        values = torch.from_numpy(self._values[self._place[rows], views])
        if values.dtype is not torch.float32:
            values = values.view(torch.bfloat16)
        return values.to(device).float().permute(0, 3, 1, 2)


def frozen_types(params: FinetuneParams, device: str) -> tuple[torch.dtype, Any]:
    """Return in which type the frozen part is computed, and in which numpy type it is stored.

    bfloat16 has half the bytes; it is the type of products where the device is fast at them.
    """
    if params.precision == "32-true":
        return torch.float32, np.float32
    if params.precision == "bf16-mixed":
        fast = True
    elif device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = resolve_precision("auto", "cpu") == "bf16"
    return (torch.bfloat16 if fast else torch.float32), np.int16
