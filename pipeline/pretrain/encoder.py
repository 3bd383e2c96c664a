"""Pre-training from settings and data to files, by way of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from safetensors.torch import save_file

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.networks.preprocessing import VIT_MEAN_STD, Normalization
from arpgnet.pipeline.pretrain.crops import Crops, load_crops
from arpgnet.pipeline.pretrain.examples import sheet
from arpgnet.pipeline.pretrain.fit import CachedPretraining, fit
from arpgnet.pipeline.pretrain.people import divide
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.stills.crops import CropJob
from arpgnet.pipeline.stills.unlabeled import list_unlabeled
from arpgnet.pipeline.store import Store, code_version, digest, file_sha256
from arpgnet.pipeline.tables.manifest import MANIFEST, SPLITS, read_manifest, read_splits
from arpgnet.pipeline.tables.pretraining import ENCODER, EXAMPLES
from arpgnet.pipeline.training.device import reproducible, resolve_device
from arpgnet.pipeline.video.frames import encode_jpeg

# on every machine, however many cores it has: their number is part of the result
THREADS = 4
QUALITY = 90
# settings that the key has by what they choose, or that choose nothing
_ELSEWHERE = {"enabled", "clips", "stills", "subjects", "aligned", "device", "precision"}


def make_encoder(params: Params, data: Path, store: Store, output: Path) -> dict[str, Any]:
    """Train, or take a finished run from the store; write the encoder, return the metadata.

    Args:
        data: the folder of the manifest, the splits, and the clips' frames and faces.
        output: the folder of the encoder and of the examples.

    Raises:
        UserError: there are too few crops.
    """
    settings = params.pretrain
    crops = _crops(params, data, store)
    with reproducible(THREADS):
        device, precision = resolve_device(settings)
        decides = [code_version(__name__), settings.model_dump(exclude=_ELSEWHERE), crops.identity]
        cached = CachedPretraining(store, digest(decides, device, precision))
        found = cached.finished()
        if found is None:
            fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
            fit(fabric, crops.pixels, settings, Normalization("rgb", *VIT_MEAN_STD), cached)
            found = cached.finished()
    if found is None:
        raise UserError(f"the store in {store.root} lost a run while it was written: run again")
    encoder, examples, info = found
    save_file(encoder, output / ENCODER)
    (output / EXAMPLES).write_bytes(encode_jpeg(sheet(examples), QUALITY))
    return {
        **info,
        "arch": settings.arch,
        "input_px": settings.input_px,
        "encoder_sha256": file_sha256(output / ENCODER),
        "crops": len(crops.pixels),
        "clips": crops.clips,
        "stills": crops.stills,
        "left_out": crops.left_out,
        "settings": settings.model_dump(exclude=_ELSEWHERE),
    }


def _crops(params: Params, data: Path, store: Store) -> Crops:
    settings = params.pretrain
    workers, limits = pool_size(params.engine)
    pack = load_listed(params.faces.pack, "detector", folder=data / "networks")
    job = CropJob.of(params, pack, settings.aligned, store, settings.input_px)
    clips = read_manifest(data / MANIFEST.name).clips
    division = divide(clips, read_splits(data / SPLITS.name), params.train.folds)
    listing = list_unlabeled(settings, workers)
    return load_crops(settings, division, data, job, listing, workers, limits)
