"""The encoder that pre-training made, in the place of a pack's embedding network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import PretrainParams
from arpgnet.pipeline.networks.packs import ModelSpec, Pack
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.pretraining import ENCODER, read_pretraining


def pretrained(spec: ModelSpec, folder: Path, *, enabled: bool) -> ModelSpec:
    """Return the encoder in `folder` as a network; the pack's own without pre-training.

    Args:
        spec: the pack's embedding network.
        enabled: `pretrain.enabled`.

    Raises:
        UserError: the folder is absent, damaged, or was written without pre-training.
    """
    if not enabled:
        return spec
    metadata = read_pretraining(folder)
    path = folder / ENCODER
    if not path.is_file() or file_sha256(path) != metadata["encoder_sha256"]:
        raise UserError(f"{path} is absent or damaged: run `dvc repro --force pretrain`")
    return ModelSpec(
        role="embedding",
        # absolute: it is opened by worker processes too
        path=path.resolve(),
        sha256=metadata["encoder_sha256"],
        kind="arcface",
        input_px=metadata["input_px"],
        color="rgb",
        mean=None,
        std=None,
        map_tensor=None,
        map_shape=None,
        embedding_dim=None,
        arch=metadata["arch"],
    )


def resized(pack: Pack, params: PretrainParams) -> Pack:
    """Return the pack with the size of the crops that the encoder takes, before there is one."""
    if not params.enabled:
        return pack
    spec = replace(pack.models["embedding"], input_px=params.input_px)
    return replace(pack, models={**pack.models, "embedding": spec})
