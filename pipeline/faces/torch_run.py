"""An imported graph in torch: float32 for checking it against the original, bfloat16 for work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from pipeline.cuda import use_cuda
from pipeline.faces.sessions import Device
from pipeline.faces.torch_graph import to_bfloat16

Floats = npt.NDArray[np.float32]


class TorchRun:
    """Calls the module on float32 [B, 3, S, S]; each output comes back as float32 [B, ...].

    Args:
        threads: of torch, for the whole process.

    Raises:
        UserError: `cuda` is asked for and torch has no such device.
    """

    def __init__(self, module: fx.GraphModule, *, device: Device, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if use_cuda(device, "faces.device") else "cpu")
        self._module = module.to(self._device)
        self._type = torch.float32

    def in_bfloat16(self) -> TorchRun:
        """This, from now on in bfloat16."""
        self._module, self._type = to_bfloat16(self._module), torch.bfloat16
        return self

    @torch.inference_mode()
    def __call__(self, blob: Floats) -> list[Floats]:
        images = torch.from_numpy(blob).to(
            self._device, self._type, memory_format=torch.channels_last
        )
        return [tensor.float().contiguous().cpu().numpy() for tensor in self._module(images)]
