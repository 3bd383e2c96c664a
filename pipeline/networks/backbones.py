"""The networks of `models` by name, with the weights of PyTorch checkpoints."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from arpgnet.models.iresnet import CROP_PX, DEPTHS, iresnet
from arpgnet.models.mobilefacenet import FoamliuMobileFaceNet, MobileFaceNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.image_network import ImageNetwork, Precision
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import Device
from arpgnet.pipeline.networks.torch_graph import TorchRun
from arpgnet.pipeline.networks.tuned import read_weights

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(iresnet, name) for name in DEPTHS},
    "mobilefacenet": MobileFaceNet,
    "mobilefacenet_foamliu": FoamliuMobileFaceNet,
}
# what a checkpoint of several parts calls the network's
_INNER = ("state_dict", "state_dict_backbone", "model", "backbone")


def load_backbone(arch: str, path: Path) -> nn.Module:
    """Return a network of `models` with the weights of a file, in evaluation mode.

    Args:
        arch: a name of `ARCHITECTURES`.
        path: `.safetensors`, or a checkpoint of torch (`.pt`, `.pth`), of which tensors alone are
            read.

    Raises:
        UserError: no such architecture, or the file does not hold its weights.
    """
    # without memory: drawing 65 million weights that are replaced at once would take seconds
    with torch.device("meta"):
        network = _make(arch)
    try:
        network.load_state_dict(_read_checkpoint(path), assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path.name} does not hold the weights of {arch}: {reason}") from None
    return network


def load_pack_backbone(spec: ModelSpec) -> nn.Module:
    """Return the network of a pack's checkpoint, with tuned weights where there are any.

    Raises:
        UserError: see `load_backbone`; or the tuned weights are another network's.
    """
    assert spec.arch is not None
    spec.require_unchanged()
    network = load_backbone(spec.arch, spec.path)
    state = network.state_dict()
    for name, array in read_weights(spec).items():
        if name not in state or state[name].shape != array.shape:
            raise UserError(f"the tuned weights do not fit {spec.arch} at {name}")
        state[name].copy_(torch.from_numpy(array))
    return network


def open_checkpoint(
    spec: ModelSpec, batch: int, device: Device, threads: int, precision: Precision
) -> ImageNetwork:
    """Return the network of a pack's checkpoint, ready to run: its embedding and its map.

    Batch norms are folded into the convolutions before them, as an exporter does. Per crop
    on one core, 16 at a time: IResNet-50 takes 124 ms (ONNX Runtime 129), MobileFaceNet 16 (18),
    foamliu's 6.7 (5.2).

    Raises:
        UserError: see `load_pack_backbone`.
    """
    run = TorchRun(fuse(load_pack_backbone(spec)), device=device, threads=threads)
    if precision == "bf16":
        run = run.in_bfloat16()
    return ImageNetwork(normalization(spec), run, batch)


def output_shapes(arch: str) -> tuple[int, tuple[int, int, int]]:
    """Return the width of the embedding and the map's channels, height and width.

    Raises:
        UserError: no such architecture.
    """
    with torch.device("meta"):
        embedding, feature_map = _make(arch)(torch.zeros(1, 3, CROP_PX, CROP_PX))
    channels, height, width = feature_map.shape[1:]
    return embedding.shape[1], (channels, height, width)


def _make(arch: str) -> nn.Module:
    if arch not in ARCHITECTURES:
        raise UserError(f"arch: {arch}: unknown network; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch]().eval()


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, without the prefix that data-parallel training adds."""
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            # nothing but tensors: a pickle may hold a program
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile),
        safetensors.SafetensorError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path.name} is not a readable checkpoint of tensors: {reason}") from None
    for inner in _INNER:
        if isinstance(state, dict) and isinstance(state.get(inner), dict):
            state = state[inner]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path.name} holds no state dict")
    return {
        # InsightFace publishes some in half precision
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }
