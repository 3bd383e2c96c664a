"""Pre-training from crops to an encoder, by way of the store: a killed run continues.

B crops of a batch, N of all, S pixels of a side, K examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from arpgnet.models.masked_autoencoder import DecoderShape, MaskedAutoencoder, pixel_loss
from arpgnet.models.vit import VIT_SHAPES
from arpgnet.pipeline.common.params import PretrainParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.networks.preprocessing import Normalization
from arpgnet.pipeline.pretrain.augment import augment
from arpgnet.pipeline.pretrain.examples import draw_examples
from arpgnet.pipeline.training.loop import EpochLoop, LoopSettings, make_optimizer
from arpgnet.pipeline.training.state import CachedState, Weights, read_tensors

# steps between two values of the history, and at least between two checkpoints
ROUND = 100
SAVE_S = 30.0
# MAE's, and no limit to the gradient
BETAS = (0.9, 0.95)
GRAD_CLIP = math.inf
# the batch that `pretrain.lr` is for, as in MAE
RATE_BATCH = 256
EXAMPLES = "examples"


class CachedPretraining(CachedState):
    """The entry of a pre-training run in the store."""

    NAMESPACE = "pretrain"

    def finished(self) -> tuple[Weights, np.ndarray, dict[str, Any]] | None:
        """Return a finished run's encoder, examples uint8 [K, 3, S, S, 3] and metadata."""
        found = self._get(self.NAMESPACE, read_tensors)
        if found is None:
            return None
        tensors, info = found
        examples = tensors.pop(EXAMPLES).numpy()
        return tensors, examples, info

    def finish(self, encoder: Weights, examples: np.ndarray, info: dict[str, Any]) -> None:
        """Store a finished run and remove its checkpoint."""
        self._finish({**encoder, EXAMPLES: torch.from_numpy(examples)}, info)


class Pretrainer(EpochLoop):
    """Fits one masked autoencoder to crops. Make it, then call `fit`.

    Args:
        crops: uint8 [N, S, S, 3], RGB.
        fed: mean and standard deviation that the network is fed with.
        on_step: called after each step.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: MaskedAutoencoder,
        crops: np.ndarray,
        params: PretrainParams,
        fed: Normalization,
        on_step: Callable[[], None],
    ) -> None:
        self.crops, self.params, self.on_step = crops, params, on_step
        self.patches = network.grid**2
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=fabric.device).reshape(1, 3, 1, 1)
            for values in (fed.mean, fed.std)
        )
        rounds = params.steps // ROUND
        settings = LoopSettings(
            name="pre-training",
            advice=f"pretrain.lr ({params.lr})",
            seed=(params.seed,),
            epochs=rounds,
            epoch_steps=ROUND,
            warmup=params.warmup,
            grad_clip=GRAD_CLIP,
            stop=rounds - 1,  # there is nothing to select an earlier one by
            select="loss",
        )
        rate = params.lr * params.batch / RATE_BATCH
        optimizer = make_optimizer([(network, rate)], params.weight_decay)
        for group in optimizer.param_groups:
            group["betas"] = BETAS
        super().__init__(fabric, network, optimizer, settings)

    def batches(
        self, rng: np.random.Generator, draws: torch.Generator
    ) -> tuple[list[int], Iterator[Tensor]]:
        wanted = ROUND * self.params.batch
        passes = math.ceil(wanted / len(self.crops))
        order = np.concatenate([rng.permutation(len(self.crops)) for _ in range(passes)])
        parts = np.split(order[:wanted], ROUND)
        return [len(part) for part in parts], self._losses(parts, draws)

    def _losses(self, parts: list[np.ndarray], draws: torch.Generator) -> Iterator[Tensor]:
        for part in parts:
            crops = self.fed(augment(self.images(part), self.params, draws))
            noise = torch.rand(len(part), self.patches, generator=draws, device=crops.device)
            predicted, mask = self.module(crops, noise)
            yield pixel_loss(predicted, crops, mask)
            self.on_step()

    def images(self, rows: np.ndarray) -> Tensor:
        """Return crops as they are: float32 [B, 3, S, S] in 0..255, on the training device."""
        crops = torch.from_numpy(self.crops[np.sort(rows)]).to(self.fabric.device)
        return crops.permute(0, 3, 1, 2).float()

    def fed(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def validate(self) -> dict[str, float]:
        return {}  # crops without labels select nothing: `stop` says when it ends


def fit(
    fabric: Fabric,
    crops: np.ndarray,
    params: PretrainParams,
    fed: Normalization,
    cached: CachedPretraining,
) -> None:
    """Train, from the checkpoint on if there is one, and store the finished run."""
    torch.manual_seed(params.seed)
    shape = replace(VIT_SHAPES[params.arch], input_px=params.input_px)
    decoder = DecoderShape(params.decoder_width, params.decoder_layers, params.decoder_heads)
    network = MaskedAutoencoder(shape, decoder, mask_ratio=params.mask_ratio)
    with track(params.steps, "pretrain", "steps") as progress:
        trainer = Pretrainer(fabric, network, crops, params, fed, progress.advance)
        state = cached.checkpoint()
        progress.advance(len(state.history) * ROUND if state else 0, restored=True)
        state = trainer.fit(state, lambda *_: None, cached.save_checkpoint, SAVE_S)
    examples = draw_examples(network.to(fabric.device), crops, fed, params.seed)
    losses = [row["train_loss"] for row in state.history]
    cached.finish(network.encoder(), examples, {"losses": losses, "round": ROUND})
