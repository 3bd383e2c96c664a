"""The networks of `models` by name, with the weights of PyTorch checkpoints."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.overrides import TorchFunctionMode

from arpgnet.models.iresnet import CROP_PX, DEPTHS, iresnet
from arpgnet.models.mobilefacenet import FoamliuMobileFaceNet, MobileFaceNet
from arpgnet.models.vit import VIT_SHAPES, Pool, VisionTransformer
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.image_network import ImageNetwork, Precision
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import Device
from arpgnet.pipeline.networks.torch_graph import TorchRun
from arpgnet.pipeline.networks.tuned import read_weights
from arpgnet.pipeline.networks.vit_files import fit_positions, make_vit, vit_state

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(iresnet, name) for name in DEPTHS},
    "mobilefacenet": MobileFaceNet,
    "mobilefacenet_foamliu": FoamliuMobileFaceNet,
    **{name: partial(make_vit, name) for name in VIT_SHAPES},
}
# what a checkpoint of several parts calls the network's
_INNER = ("state_dict", "state_dict_backbone", "model", "module", "backbone")
# names of tensors that a message lists; a network has some 150
_LISTED = 3


class _Undrawn(TorchFunctionMode):
    """Without random numbers, for networks without memory.

    Drawing 65 million weights that are replaced at once would take seconds; and on the device
    `meta` `normal_` alone imports 800 modules, 4 s.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.init.normal_:
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_backbone(
    arch: str,
    path: Path,
    *,
    input_px: int | None = None,
    pool: Pool | None = None,
    interpolate_positions: bool = False,
) -> nn.Module:
    """Return a network of `models` with the weights of a file, in evaluation mode.

    Args:
        arch: a name of `ARCHITECTURES`.
        path: `.safetensors`, or a checkpoint of torch (`.pt`, `.pth`), of which tensors alone are
            read.
        input_px, pool: of a vision transformer; see `make_vit`.
        interpolate_positions: whether a vision transformer's positions may be brought to
            `input_px`.

    Raises:
        UserError: no such architecture, or the file does not hold its weights.
    """
    with torch.device("meta"), _Undrawn():
        network = _make(arch, input_px, pool)
    state = _read_checkpoint(path)
    if isinstance(network, VisionTransformer):
        state = vit_state(state, path.name)
        fit_positions(state, network, path.name, interpolate=interpolate_positions)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path.name} holds no state dict")
    _fill(network, state, f"{path.name} does not hold the weights of {arch}")
    return network


def _fill(network: nn.Module, state: Mapping[str, Tensor], fault: str) -> None:
    """Put a file's tensors into the network, all of them and nothing else.

    Raises:
        UserError: `fault`, and what is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    shapes = [
        f"{name} {list(value.shape)}, not {list(own[name].shape)}"
        for name, value in state.items()
        if name in own and own[name].shape != value.shape
    ]
    fitting = {name: value for name, value in state.items() if name in own}
    try:
        found = network.load_state_dict(fitting, strict=False, assign=True)
        missing = list(found.missing_keys)
    except RuntimeError:  # shapes, which are listed
        missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    faults = [f"{what}: {_some(names)}" for what, names in lists.items() if names]
    if faults:
        raise UserError(f"{fault}: {'; '.join(faults)}")


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def load_pack_backbone(spec: ModelSpec) -> nn.Module:
    """Return the network of a pack's checkpoint, with tuned weights where there are any.

    Raises:
        UserError: see `load_backbone`; or the tuned weights are another network's.
    """
    assert spec.arch is not None
    spec.require_unchanged()
    network = load_backbone(
        spec.arch,
        spec.path,
        input_px=spec.input_px,
        pool=spec.pool,
        interpolate_positions=spec.interpolate_positions,
    )
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
    network = load_pack_backbone(spec)
    if not isinstance(network, VisionTransformer):  # which has no batch norms
        network = fuse(network)
    run = TorchRun(network, device=device, threads=threads)
    if precision == "bf16":
        run = run.in_bfloat16()
    return ImageNetwork(normalization(spec), run, batch)


def output_shapes(arch: str, input_px: int | None = None) -> tuple[int, tuple[int, int, int]]:
    """Return the width of the embedding and the map's channels, height and width.

    Raises:
        UserError: no such architecture.
    """
    if arch in VIT_SHAPES:
        shape = VIT_SHAPES[arch]
        cells = (input_px or shape.input_px) // shape.patch_px
        return shape.dim, (shape.dim, cells, cells)
    with torch.device("meta"), _Undrawn():
        embedding, feature_map = _make(arch)(torch.zeros(1, 3, CROP_PX, CROP_PX))
    channels, height, width = feature_map.shape[1:]
    return embedding.shape[1], (channels, height, width)


def _make(arch: str, input_px: int | None = None, pool: Pool | None = None) -> nn.Module:
    if arch not in ARCHITECTURES:
        raise UserError(f"arch: {arch}: unknown network; known: {', '.join(ARCHITECTURES)}")
    if arch in VIT_SHAPES:
        return make_vit(arch, input_px=input_px, pool=pool).eval()
    return ARCHITECTURES[arch]().eval()


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state dict of a checkpoint, without the prefix of data-parallel training."""
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            # nothing but tensors: a pickle may hold a program. MAE and what descends from it save
            # the command line's arguments with them, which are no more than names and values
            with torch.serialization.safe_globals([argparse.Namespace]):
                state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile),
        safetensors.SafetensorError,
    ) as error:
        raise UserError(
            f"{path.name} is not a readable checkpoint of tensors: {_reason(error)}"
        ) from None
    for inner in _INNER:
        if isinstance(state, dict) and isinstance(state.get(inner), dict):
            state = state[inner]
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"{path.name} holds no state dict")
    return {name.removeprefix("module."): _single(value) for name, value in state.items()}


def _single(value: Any) -> Any:
    """Convert to float32: InsightFace and OpenAI publish some in half precision."""
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _reason(error: Exception) -> str:
    """Return a line of what went wrong; torch's own advises to run what the file holds."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript program; save the state_dict() of it"
    other = re.search(r"GLOBAL (\S+)", text)
    if other:
        return f"it holds {other[1]} too, and nothing else than tensors is read"
    _, _, own = text.rpartition("WeightsUnpickler error: ")
    return (own.strip().splitlines() or [type(error).__name__])[0][:200]
