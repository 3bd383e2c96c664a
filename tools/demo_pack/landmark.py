"""Training the 106-point regression on the crops insightface's Landmark class cuts.

Shape letters: B crops, P landmarks.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from tools.demo_pack import augment, geometry
from tools.demo_pack.loop import fit, to_tensor
from tools.demo_pack.nets import DemoLandmarks
from tools.demo_pack.stills import Stills

# detector noise: the box's center and size, as a fraction of its size
_CENTER_NOISE, _SIZE_NOISE = 0.035, 0.05
_TURN_DEGREES = 8.0
# Wing loss in pixels: below `_WING` errors count logarithmically, curvature `_WING_CURVE`
_WING, _WING_CURVE = 6.0, 1.0

LandmarkBatch = tuple[Tensor, Tensor]


def train_landmarks(
    stills: Stills, *, steps: int, batch: int, seed: int, report: Callable[[str], None]
) -> DemoLandmarks:
    """Landmarks trained for `steps` batches of `batch` jittered crops of `stills`."""
    torch.manual_seed(seed)
    net = DemoLandmarks(points=stills.landmarks.shape[1])
    with torch.no_grad():
        net.points.bias.copy_(_mean_shape(stills))

    def loss(data: LandmarkBatch, progress: float) -> Tensor:
        crops, target = data
        with torch.autocast("cpu", torch.bfloat16):
            predicted = net(crops)
        return wing_loss((predicted.float() - target) * geometry.LANDMARK_PX / 2)

    fit(
        net,
        lambda rng: _make_batch(stills, batch, rng),
        loss,
        steps=steps,
        learning_rate=2e-3,
        seed=seed,
        report=report,
    )
    return net


def wing_loss(error: Tensor) -> Tensor:
    """Mean Wing loss of errors in pixels (Feng et al. 2018, arXiv:1711.06753)."""
    size = error.abs()
    offset = _WING - _WING * np.log(1 + _WING / _WING_CURVE)
    near = _WING * torch.log1p(size / _WING_CURVE)
    return torch.where(size < _WING, near, size - offset).mean()


def _make_batch(stills: Stills, batch: int, rng: Generator) -> LandmarkBatch:
    crops, targets = [], []
    for _ in range(batch):
        still = stills.draw(rng)
        matrix = _jittered_crop(still.box, rng)
        crop = geometry.warp(still.image, matrix, geometry.LANDMARK_PX)
        crops.append(augment.occlude(augment.photometric(crop, rng), rng, probability=0.25))
        points = geometry.apply(matrix, still.landmarks)
        targets.append(geometry.pixels_to_unit(points, geometry.LANDMARK_PX).reshape(-1))
    target = torch.from_numpy(np.stack(targets).astype(np.float32))
    return to_tensor(crops, std=128.0), target


def _jittered_crop(box: geometry.Points, rng: Generator) -> geometry.Matrix:
    extent = float(max(box[2] - box[0], box[3] - box[1]))
    center = (box[:2] + box[2:]) / 2 + rng.normal(0, _CENTER_NOISE * extent, 2)
    extent *= float(np.exp(rng.normal(0, _SIZE_NOISE)))
    half = geometry.LANDMARK_PX / 2
    scale = geometry.LANDMARK_PX / (extent * geometry.LANDMARK_MARGIN)
    degrees = rng.normal(0, _TURN_DEGREES)
    return geometry.about(center, np.full(2, half), scale=scale, degrees=degrees)


def _mean_shape(stills: Stills) -> Tensor:
    """The mean landmarks in crop units `[P * 2]`: where the regression starts."""
    shapes = [
        geometry.pixels_to_unit(
            geometry.apply(geometry.landmark_crop(box), points), geometry.LANDMARK_PX
        )
        for box, points in zip(stills.boxes[:512], stills.landmarks[:512], strict=True)
    ]
    return torch.from_numpy(np.mean(shapes, 0).astype(np.float32).reshape(-1))
