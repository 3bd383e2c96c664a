"""Vision transformers with random weights, and packs that hold one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor

from arpgnet.models.vit import VisionTransformer
from arpgnet.pipeline.networks.vit_files import make_vit
from arpgnet.pipeline.store import file_sha256
from helpers import graphs

# ours -> OpenAI's
CLIP_NAMES = (
    ("cls_token", "class_embedding"),
    ("pos_embed", "positional_embedding"),
    ("patch_embed.proj", "conv1"),
    ("norm_pre", "ln_pre"),
    ("attn.qkv.", "attn.in_proj_"),
    ("attn.proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("blocks.", "transformer.resblocks."),
)


def random_vit(arch: str, seed: int = 0) -> VisionTransformer:
    """Return a network whose every tensor is random."""
    torch.manual_seed(seed)
    network = make_vit(arch).eval()
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


def clip_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as OpenAI's CLIP names and shapes its image tower's."""
    found = {}
    for name, value in state.items():
        name = re.sub(r"^norm\.", "ln_post.", name)
        name = re.sub(r"\.norm([12])\.", r".ln_\1.", name)
        for ours, theirs in CLIP_NAMES:
            name = name.replace(ours, theirs)
        flat = {"class_embedding": value.flatten(), "positional_embedding": value[0]}
        found[f"visual.{name}"] = flat.get(name, value)
    return found


def vit_pack(
    folder: Path, arch: str = "vit_tiny_patch16_224", base: Path | None = None, **entry: Any
) -> Path:
    """Write a pack with a random vision transformer as its embedding network.

    Args:
        base: a pack whose other networks it has; default: the small pack's.
        entry: more of the embedding's entry.
    """
    if base is None:
        graphs.small_pack(folder)
    else:
        shutil.copytree(base, folder)
    path = folder / "net.safetensors"
    save_file(random_vit(arch).state_dict(), path)
    yaml = YAML()
    pack = yaml.load(folder / "pack.yaml")
    pack["name"] = folder.name
    network = {"file": path.name, "sha256": file_sha256(path), "kind": "arcface", "arch": arch}
    pack["models"]["embedding"] = network | entry
    yaml.dump(pack, folder / "pack.yaml")
    return folder
