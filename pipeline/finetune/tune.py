"""Fine-tuning from settings to weights, by way of the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams, Params
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.finetune.cached import CachedTuning
from arpgnet.pipeline.finetune.crops import CropJob
from arpgnet.pipeline.finetune.data import Stills, load_stills
from arpgnet.pipeline.finetune.fit import Tuner
from arpgnet.pipeline.finetune.network import build_trainee, tuned_weights
from arpgnet.pipeline.finetune.sets import list_stills
from arpgnet.pipeline.finetune.target import Target
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.store import Store, code_version, digest, file_sha256
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.training.device import reproducible, resolve_device
from arpgnet.pipeline.training.state import State

# on every machine, however many cores it has: their number is part of the result
THREADS = 4
# settings that the key has by what they choose, or that choose nothing
_ELSEWHERE = {"enabled", "dataset", "root", "subjects", "aligned", "device", "precision"}


def tune(
    params: Params, clips: Sequence[Clip], data: Path, store: Store, output: Path
) -> dict[str, Any]:
    """Train, or take a finished run from the store; write the weights, return the metadata.

    Args:
        clips, data: the target data, and the folder of its frames and faces, which no still may
            show.
        output: the safetensors file.

    Raises:
        UserError: the stills or the network do not allow it.
    """
    settings = params.finetune
    workers, limits = pool_size(params.engine)
    pack = load_listed(params.faces.pack, "detector", "embedding", folder=data / "networks")
    spec = pack.models["embedding"]
    listing = list_stills(settings, workers)
    job = CropJob(
        pack.models["detector"], params.align, settings.aligned, params.faces.device, store.root
    )
    stills = load_stills(
        listing, job, Target(clips, data / "frames", data / "faces"), settings, workers, limits
    )
    with reproducible(THREADS):
        device, precision = resolve_device(settings)
        key = digest(_decides(settings, spec, stills), job.identity(), device, precision)
        cached = CachedTuning(store, key)
        if cached.finished(output) is None:
            fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
            _train(fabric, spec, stills, settings, cached)
        found = cached.finished(output)
    if found is None:
        raise UserError(f"the store in {store.root} lost a run while it was written: run again")
    return {
        **found,
        "dataset": settings.dataset,
        "pack": pack.name,
        "model_sha256": spec.sha256,
        "weights_sha256": file_sha256(output),
        "left_out": stills.left_out,
    }


def _train(
    fabric: Fabric, spec: ModelSpec, stills: Stills, settings: FinetuneParams, cached: CachedTuning
) -> None:
    torch.manual_seed(settings.seed)
    trainee = build_trainee(
        spec, settings.heads, len(stills.classes), train_norms=settings.train_norms
    )
    tuner = Tuner(fabric, trainee, stills, settings)
    state = cached.checkpoint()
    done = len(state.history) if state else 0
    with track(settings.epochs * tuner.steps, "finetune") as progress:
        progress.advance(done * tuner.steps)

        def on_epoch(now: State) -> None:
            if len(now.history) < settings.epochs:
                cached.save_checkpoint(now)

        state = tuner.fit(state, progress.advance, on_epoch)
    metadata = {
        "classes": stills.classes,
        "train": len(stills.train),
        "val": len(stills.val),
        "history": state.history,
        "best": state.best,
        "settings": settings.model_dump(exclude=_ELSEWHERE),
    }
    cached.finish(tuned_weights(trainee), metadata)


def _decides(settings: FinetuneParams, spec: ModelSpec, stills: Stills) -> list[Any]:
    """Return what the weights depend on, as far as it is known before a device is chosen."""
    parts = {
        name: [[stills.sums[row], int(stills.label[row])] for row in rows]
        for name, rows in (("train", stills.train), ("val", stills.val))
    }
    return [
        code_version(__name__),
        settings.model_dump(exclude=_ELSEWHERE),
        spec.identity,
        stills.classes,
        parts,
    ]
