"""Fine-tuning from settings to weights, by way of the store.

What is in the store is not computed again, and a killed run continues.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams, Params
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.finetune.data import Stills, load_stills
from arpgnet.pipeline.finetune.inputs import Activations, Crops, Inputs, frozen_types
from arpgnet.pipeline.finetune.network import Trainee, build_trainee, split, tuned_weights
from arpgnet.pipeline.finetune.objective import make_objective
from arpgnet.pipeline.finetune.vit import drop_paths, layer_rates, require_fit
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.pretrained import pretrained
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.stills.crops import CropJob
from arpgnet.pipeline.stills.sets import list_stills
from arpgnet.pipeline.stills.stills import plain
from arpgnet.pipeline.stills.target import Target
from arpgnet.pipeline.store import Store, code_version, digest, file_sha256
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.pretraining import PRETRAINED
from arpgnet.pipeline.training.device import reproducible, resolve_device
from arpgnet.pipeline.training.loop import EpochLoop, LoopSettings, make_optimizer
from arpgnet.pipeline.training.state import CachedState, read_info

# on every machine, however many cores it has: their number is part of the result. A part of a
# network has too little work for four: 3.5, 3.9 and 4.5 ms of CPU a still with 1, 2 and 4
# (`last-3` of foamliu's MobileFaceNet, two busy cores)
THREADS, THREADS_PART = 4, 2
GRAD_CLIP = 1.0
# settings that the key has by what they choose, or that choose nothing
_ELSEWHERE = {"enabled", "dataset", "root", "subjects", "aligned", "device", "precision"}


def tune(
    params: Params,
    clips: Sequence[Clip],
    data: Path,
    store: Store,
    output: Path,
    *,
    pretraining: Path = PRETRAINED,
) -> dict[str, Any]:
    """Train, or take a finished run from the store; write the weights, return the metadata.

    Args:
        clips, data: the target data, and the folder of its frames and faces, which no still may
            show.
        output: the safetensors file.
        pretraining: the output of the pretrain stage, whose encoder is tuned where there is one.

    Raises:
        UserError: the stills or the network do not allow it.
    """
    settings = params.finetune
    workers, limits = pool_size(params.engine)
    pack = load_listed(params.faces.pack, "detector", "embedding", folder=data / "networks")
    spec = pretrained(pack.models["embedding"], pretraining, enabled=params.pretrain.enabled)
    require_fit(settings, spec)
    listing = list_stills(settings, workers)
    job = CropJob.of(params, pack, settings.aligned, store, spec.input_px)
    stills = load_stills(
        listing, job, Target(clips, data / "frames", data / "faces"), settings, workers, limits
    )
    with reproducible(threads(settings)):
        device, precision = resolve_device(settings)
        identity = job.identity()
        if settings.layers != "all":
            identity += map(str, frozen_types(settings, device))
        key = digest(_decides(settings, spec, stills), identity, device, precision)
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
    frozen = split(trainee, settings.layers, spec.path.name)
    drop_paths(trainee.backbone, settings.drop_path)
    inputs: Inputs
    if frozen is None:
        inputs = Crops(stills, settings, fabric.device)
    else:
        inputs = Activations(frozen, spec, stills, settings, fabric.device, cached.store)
    steps = len(_cut(stills.train, settings.batch))
    with track(settings.epochs * steps, "finetune", "batches") as progress:
        tuner = Tuner(fabric, trainee, stills, inputs, settings, progress.advance)
        state = cached.checkpoint()
        progress.advance(len(state.history) * steps if state else 0, restored=True)
        state = tuner.fit(state, lambda *_: None, cached.save_checkpoint)
    metadata = {
        "classes": stills.classes,
        "train": len(stills.train),
        "val": len(stills.val),
        "history": state.history,
        "best": state.best,
        "settings": settings.model_dump(exclude=_ELSEWHERE),
    }
    weights = tuned_weights(trainee)
    metadata["trained_weights"] = sum(array.size for array in weights.values())
    cached.finish(weights, metadata)


def threads(settings: FinetuneParams) -> int:
    """Return how many threads torch has for a run."""
    return THREADS if settings.layers == "all" else THREADS_PART


def _decides(settings: FinetuneParams, spec: ModelSpec, stills: Stills) -> list[Any]:
    """Return what the weights depend on, as far as it is known before a device is chosen."""
    parts = {
        name: [[stills.sums[row], _plain(stills.label[row])] for row in rows]
        for name, rows in (("train", stills.train), ("val", stills.val))
    }
    unused = {"views"} if settings.layers == "all" else set()
    return [
        code_version(__name__),
        settings.model_dump(exclude=_ELSEWHERE | unused),
        spec.identity,
        stills.classes,
        parts,
    ]


def _plain(label: Any) -> Any:
    return int(label) if np.ndim(label) == 0 else plain(label)


class CachedTuning(CachedState):
    """The entry of a fine-tuning run in the store."""

    NAMESPACE = "finetune"

    def finished(self, weights: Path) -> dict[str, Any] | None:
        """Copy a finished run's weights to `weights`; return its metadata, or None."""
        if not self.store.get_file(self.NAMESPACE, self.key, weights):
            return None
        return read_info(weights)

    def finish(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
        """Store a finished run and remove its checkpoint."""
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        self._finish(tensors, metadata)


class Tuner(EpochLoop):
    """Fits one network to stills. Make it, then call `fit`.

    Args:
        inputs: of `stills`, for the trainee.
        on_step: called after each step.
    """

    def __init__(
        self,
        fabric: Fabric,
        trainee: Trainee,
        stills: Stills,
        inputs: Inputs,
        params: FinetuneParams,
        on_step: Callable[[], None],
    ) -> None:
        self.trainee, self.stills, self.inputs = trainee, stills, inputs
        self.params, self.on_step = params, on_step
        self.objective = make_objective(
            stills.label, stills.train, len(stills.classes), params, fabric.device
        )
        settings = LoopSettings(
            name="fine-tuning",
            advice=f"finetune.lr ({params.lr}) or finetune.head_lr ({params.head_lr})",
            seed=(params.seed,),
            epochs=params.epochs,
            epoch_steps=len(_cut(stills.train, params.batch)),
            warmup=params.warmup,
            grad_clip=GRAD_CLIP,
            select=self.objective.score,
        )
        # the heads, which start at random, learn faster
        rates = layer_rates(trainee.backbone, params.lr, params.layer_decay)
        rates.append((trainee.heads, params.head_lr))
        super().__init__(fabric, trainee, make_optimizer(rates, params.weight_decay), settings)

    def batches(
        self, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        parts = _cut(rng.permutation(self.stills.train), self.params.batch)
        self.trainee.start_epoch()
        return [len(part) for part in parts], self._losses(parts, draws)

    def _losses(self, parts: Sequence[np.ndarray], draws: torch.Generator) -> Iterator[Tensor]:
        for part in parts:
            yield self._loss(self.module(self.inputs.augmented(part, draws)), self._label(part))
            self.on_step()

    def validate(self) -> dict[str, float]:
        logits, label = self._predict(self.stills.val)
        return {
            "val_loss": self._loss(logits, label).item(),
            f"val_{self.objective.score}": self.objective.scored(logits, label),
        }

    @torch.inference_mode()
    def _predict(self, rows: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Return logits [rows, K] of each head, and labels."""
        self.module.eval()
        found = [
            [logits.float() for logits in self.module(self.inputs.plain(part))]
            for part in _cut(rows, self.params.batch)
        ]
        return [torch.cat(pieces) for pieces in zip(*found, strict=True)], self._label(rows)

    def _label(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.stills.label[rows]).to(self.fabric.device)

    def _loss(self, logits: list[Tensor], label: Tensor) -> Tensor:
        """Return the mean over the heads."""
        losses = [self.objective.loss(each, label) for each in logits]
        return torch.stack(losses).mean()


def _cut(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    """Cut batches that differ by at most one: batch norm cannot take a batch of one."""
    return np.array_split(rows, max(1, math.ceil(len(rows) / batch)))
