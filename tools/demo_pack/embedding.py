"""Training the embedding: identity first, then identity and expression together.

As ARPGNet treats its backbone: a face-recognition network fine-tuned on expression stills. The
expression targets are action units, read from the mean of the last feature map, from the map with
its positions, and from the embedding; the landmarks, read from the map, keep it in place.

Shape letters: B crops, C map channels, D embedding width, A action units, P landmarks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from tools.demo_pack import augment, geometry
from tools.demo_pack.loop import fit, to_tensor
from tools.demo_pack.nets import DemoEmbedding
from tools.demo_pack.stills import Stills

# share of the steps spent on identity alone, before the expression targets come in
_IDENTITY_ONLY = 0.15
# detector noise on each keypoint, and the whole crop's shift, as parts of the interocular distance
_POINT_NOISE, _SHIFT_NOISE = 0.025, 0.03
# CosFace scale and margin; 400-800 subjects want a smaller scale than the usual 64
_COSINE_SCALE, _COSINE_MARGIN = 24.0, 0.2
_IDENTITY_WEIGHT, _POSITION_WEIGHT = 0.15, 0.5


@dataclass(frozen=True)
class EmbeddingBatch:
    """crops `[B, 3, 112, 112]`, subjects `[B]`, action_units `[B, A]`, landmarks `[B, P * 2]`."""

    crops: Tensor
    subjects: Tensor
    action_units: Tensor
    landmarks: Tensor


class ActionUnitHeads(nn.Module):
    """Linear readings of the action units; map `[B, C, 7, 7]`, embedding `[B, D]` -> 3 x `[B, A]`.

    They exist for training and for the card's figures; the pack does not ship them.
    """

    def __init__(self, net: DemoEmbedding, units: int) -> None:
        super().__init__()
        self.mean_map = nn.Linear(net.channels, units)
        self.whole_map = nn.Linear(net.channels * net.GRID**2, units)
        self.embedding = nn.Linear(net.dim, units)

    def forward(self, embedding: Tensor, feature_map: Tensor) -> dict[str, Tensor]:
        return {
            "mean_map": self.mean_map(feature_map.mean((2, 3))),
            "whole_map": self.whole_map(feature_map.flatten(1) / DemoEmbedding.GRID**2),
            "embedding": self.embedding(embedding),
        }


class _Trainee(nn.Module):
    """The embedding network with everything that teaches it."""

    def __init__(self, net: DemoEmbedding, subjects: int, units: int, points: int) -> None:
        super().__init__()
        self.net = net
        self.units = ActionUnitHeads(net, units)
        self.points = nn.Linear(net.channels * net.GRID**2, points * 2)
        self.subjects = nn.Parameter(torch.randn(subjects, net.dim) * 0.1)


def train_embedding(
    stills: Stills, *, steps: int, batch: int, seed: int, report: Callable[[str], None]
) -> tuple[DemoEmbedding, ActionUnitHeads]:
    """The embedding and its action-unit readings after `steps` batches of `batch` crops."""
    torch.manual_seed(seed)
    units, points = stills.action_units.shape[1], stills.landmarks.shape[1]
    net = DemoEmbedding()
    trainee = _Trainee(net, int(stills.subjects.max()) + 1, units, points)
    spread = torch.from_numpy(np.maximum(stills.action_units.std(0), 0.05))

    def loss(data: EmbeddingBatch, progress: float) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            embedding, feature_map = net(data.crops)
        embedding, feature_map = embedding.float(), feature_map.float()
        identity = cosine_margin_loss(embedding, trainee.subjects, data.subjects)
        landmarks = trainee.points(feature_map.flatten(1) / net.GRID**2)
        place = (landmarks - data.landmarks).abs().mean() * 10
        total = _IDENTITY_WEIGHT * identity + _POSITION_WEIGHT * place
        if progress >= _IDENTITY_ONLY:
            for predicted in trainee.units(embedding, feature_map).values():
                error = (predicted - data.action_units) / spread
                total = total + functional.mse_loss(error, torch.zeros_like(error))
        return total

    fit(
        trainee,
        lambda rng: _make_batch(stills, batch, rng),
        loss,
        steps=steps,
        learning_rate=2e-3,
        seed=seed,
        report=report,
    )
    return net, trainee.units


def cosine_margin_loss(embedding: Tensor, centers: Tensor, subjects: Tensor) -> Tensor:
    """CosFace (Wang et al. 2018, arXiv:1801.09414); `[B, D]`, `[subjects, D]`, `[B]` -> scalar."""
    cosine = functional.normalize(embedding) @ functional.normalize(centers).T
    margin = functional.one_hot(subjects, len(centers)) * _COSINE_MARGIN
    return functional.cross_entropy(_COSINE_SCALE * (cosine - margin), subjects)


def aligned_crop(image: geometry.Image, keypoints: geometry.Points) -> geometry.Image:
    """The 112-pixel crop of an image `[H, W, 3]`, aligned by its 5 keypoints."""
    return geometry.warp(image, geometry.align(keypoints), geometry.CROP_PX)


def _make_batch(stills: Stills, batch: int, rng: Generator) -> EmbeddingBatch:
    drawn = [stills.draw(rng) for _ in range(batch)]
    crops, landmarks = [], []
    for still in drawn:
        keypoints = _noisy(still.keypoints, rng)
        crop = aligned_crop(still.image, keypoints)
        crops.append(augment.occlude(augment.photometric(crop, rng), rng, probability=0.15))
        points = geometry.apply(geometry.align(keypoints), still.landmarks)
        landmarks.append(geometry.pixels_to_unit(points, geometry.CROP_PX).reshape(-1))
    return EmbeddingBatch(
        to_tensor(crops, std=127.5),
        torch.tensor([still.subject for still in drawn]),
        torch.from_numpy(np.stack([still.action_units for still in drawn])),
        torch.from_numpy(np.stack(landmarks).astype(np.float32)),
    )


def _noisy(keypoints: geometry.Points, rng: Generator) -> geometry.Points:
    interocular = np.linalg.norm(keypoints[0] - keypoints[1])
    noise = rng.normal(0, _POINT_NOISE, (5, 2)) + rng.normal(0, _SHIFT_NOISE, 2)
    return keypoints + noise * interocular
