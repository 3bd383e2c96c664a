"""Vision transformers by name, and the state dicts of those who published them.

A file has the names of timm and MAE (ours), or those of OpenAI's CLIP, which FaRL has too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from arpgnet.models.vit import VIT_SHAPES, Pool, VisionTransformer
from arpgnet.pipeline.common.errors import UserError

# what a file has beside the encoder: classifiers, and MAE's decoder
_OTHER_PARTS = ("head.", "decoder_", "mask_token")
# the image tower of a file of CLIP; its text tower has no such prefix
_VISUAL = "visual."
# CLIP's projection into the space of texts, and what FaRL fills masked patches with
_CLIP_OTHER_PARTS = ("visual.proj", "visual.mask_token")
_CLIP_NAMES = (
    (r"class_embedding", "cls_token"),
    (r"positional_embedding", "pos_embed"),
    (r"conv1\.weight", "patch_embed.proj.weight"),
    (r"ln_pre\.(weight|bias)", r"norm_pre.\1"),
    (r"ln_post\.(weight|bias)", r"norm.\1"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
)


def make_vit(
    arch: str, *, input_px: int | None = None, pool: Pool | None = None
) -> VisionTransformer:
    """Return a freshly initialized network.

    Args:
        arch: a name of `VIT_SHAPES`.
        input_px: side of the crops; None: that of the name.
        pool: None: the class token of CLIP, which was trained, else the mean of the patches.
    """
    shape = VIT_SHAPES[arch]
    shape = replace(shape, input_px=input_px or shape.input_px)
    return VisionTransformer(shape, pool=pool or ("token" if shape.clip else "mean"))


def vit_state(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the encoder's tensors by our names; names that nobody is known to use stay.

    Args:
        name: of the file, for the message.

    Raises:
        UserError: the file's last norm is not one of patches.
    """
    if any(key.startswith(_VISUAL) for key in state):
        return dict(_from_clip(state))
    if "fc_norm.weight" in state:
        # that norm was trained on the mean of the patches: on single patches it gives another map,
        # and the mean of normed patches is not the normed mean
        raise UserError(
            f"{name} was tuned with global pooling: its last norm (fc_norm) is one of the patches' "
            "mean, and none of the patches (norm) is in it: use the file from before that tuning"
        )
    return {key: value for key, value in state.items() if not key.startswith(_OTHER_PARTS)}


def _from_clip(state: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in state.items():
        if not key.startswith(_VISUAL) or key in _CLIP_OTHER_PARTS:
            continue
        found[_ours(key)] = value
    for key, axes in (("cls_token", 3), ("pos_embed", 3)):
        if isinstance(found.get(key), Tensor):
            found[key] = found[key].view(*[1] * (axes - found[key].ndim), *found[key].shape)
    return found


def _ours(key: str) -> str:
    rest = key.removeprefix(_VISUAL)
    for theirs, ours in _CLIP_NAMES:
        match = re.fullmatch(theirs, rest)
        if match:
            return match.expand(ours)
    return key


def fit_positions(
    state: dict[str, Any], network: VisionTransformer, name: str, *, interpolate: bool
) -> None:
    """Bring the position embedding of a file to the network's input size, if that is asked for.

    Bicubic with antialiasing, as timm's `resample_abs_pos_embed`.

    Raises:
        UserError: the two differ, and it is not.
    """
    held = state.get("pos_embed")
    if not isinstance(held, Tensor) or held.ndim != 3:
        return
    before, after = round((held.shape[1] - 1) ** 0.5), network.grid
    # what is no square is listed with the other tensors of another shape
    if before == after or before**2 != held.shape[1] - 1:
        return
    patch = network.shape.patch_px
    if not interpolate:
        raise UserError(
            f"{name} has the positions of {before} x {before} patches ({before * patch} pixels), "
            f"input_px is {after * patch}: set input_px: {before * patch}, or "
            "interpolate_positions: true, in pack.yaml"
        )
    patches = held[:, 1:].float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
    patches = functional.interpolate(
        patches, size=(after, after), mode="bicubic", antialias=True, align_corners=None
    )
    state["pos_embed"] = torch.cat([held[:, :1].float(), patches.flatten(2).transpose(1, 2)], dim=1)
