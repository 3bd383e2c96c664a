"""Losses and loops: each network learns a handful of stills, the same way every time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tools.demo_pack import detector, embedding, landmark
from tools.demo_pack.anchors import assign
from tools.demo_pack.loop import fit, to_tensor
from tools.demo_pack.nets import DemoDetector
from tools.demo_pack.stills import TRAIN_SUBJECTS, StillPlan, Stills, load_stills


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Stills:
    plan = StillPlan(TRAIN_SUBJECTS, subjects=2, count=4, seed=0, frame_px=160)
    return load_stills(plan, tmp_path_factory.mktemp("few"), workers=1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _losses(lines: list[str]) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in lines]


@pytest.mark.parametrize(
    ("train", "steps", "batch"),
    [
        pytest.param(landmark.train_landmarks, 200, 8, marks=pytest.mark.slow),
        (detector.train_detector, 60, 4),
        (embedding.train_embedding, 60, 4),
    ],
)
def test_training_lowers_the_loss(few: Stills, train: Any, steps: int, batch: int) -> None:
    lines: list[str] = []
    train(few, steps=steps, batch=batch, seed=0, report=lines.append)
    losses = _losses(lines)
    # from the third tenth on: earlier the embedding is taught identity alone, a smaller sum
    assert losses[-1] < 0.85 * losses[2]


def test_training_repeats_bit_for_bit(few: Stills) -> None:
    def weights() -> Tensor:
        net = landmark.train_landmarks(few, steps=3, batch=2, seed=5, report=lambda line: None)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(weights(), weights())


def test_fit_gives_every_step_its_own_draw_and_ends_in_evaluation_mode() -> None:
    net = torch.nn.Linear(1, 1)
    draws: list[float] = []

    def loss(value: float, progress: float) -> Tensor:
        draws.append(value)
        return net(torch.ones(1, 1)).square().sum()

    fit(
        net,
        lambda rng: float(rng.random()),
        loss,
        steps=5,
        learning_rate=0.1,
        seed=7,
        report=lambda line: None,
    )
    assert draws == [np.random.default_rng([7, step]).random() for step in range(5)]
    assert not net.training


def test_perfect_boxes_and_scores_cost_nothing() -> None:
    boxes, keypoints = np.array([[40.0, 30, 120, 110]]), np.full((1, 5, 2), 70.0)
    targets = detector.collate_targets([assign(boxes, keypoints, 160, 160)])
    outputs = [
        detector.LevelOutput((labels[..., None] == 1) * 40.0 - 20.0, wanted, points)
        for labels, wanted, points, _ in targets
    ]
    assert detector.detection_loss(outputs, targets).item() == pytest.approx(0, abs=1e-5)
    shifted = [output._replace(boxes=output.boxes + 0.5) for output in outputs]
    assert detector.detection_loss(shifted, targets).item() > 0.1


def test_giou_of_known_boxes() -> None:
    # unions and hulls by hand: 1x1 inside 2x2; side by side boxes do not occur around one center
    one, two = torch.full((1, 4), 0.5), torch.full((1, 4), 1.0)
    outputs = [detector.LevelOutput(torch.full((1, 1, 1), 20.0), one[None], torch.zeros(1, 1, 10))]
    levels = [(torch.ones(1, 1), two[None], torch.zeros(1, 1, 10), torch.ones(1))]
    assert detector.detection_loss(outputs, levels).item() == pytest.approx(2 * (1 - 1 / 4))


def test_wing_loss_is_continuous_at_its_knee() -> None:
    near, far = landmark.wing_loss(torch.tensor([5.9999])), landmark.wing_loss(torch.tensor([6.0]))
    assert near.item() == pytest.approx(far.item(), abs=1e-3)
    assert landmark.wing_loss(torch.zeros(3)).item() == 0


def test_the_margin_makes_the_right_subject_harder() -> None:
    centers, subjects = torch.eye(3), torch.arange(3)
    between = torch.full((3, 3), 1.0) + 0.1 * torch.eye(3)
    loss = embedding.cosine_margin_loss(between, centers, subjects)
    cosine = between / between.norm(dim=1, keepdim=True)
    assert loss > torch.nn.functional.cross_entropy(24.0 * cosine, subjects)


def test_scenes_hold_their_faces(few: Stills) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        scene = detector.compose(few, 160, rng)
        assert scene.image.shape == (160, 160, 3)
        assert len(scene.boxes) == len(scene.keypoints)
        centers = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
        assert ((centers >= 0) & (centers <= 160)).all()
        inside = (scene.keypoints > scene.boxes[:, None, :2]) & (
            scene.keypoints < scene.boxes[:, None, 2:]
        )
        assert inside.all()


def test_normalization_is_the_models_own() -> None:
    image = np.array([[[0, 127, 255]]], np.uint8)
    tensor = to_tensor([image], std=128.0)
    assert tensor.flatten().tolist() == [-127.5 / 128, -0.5 / 128, 127.5 / 128]


def test_the_detector_starts_from_rare_faces() -> None:
    logits = torch.cat(
        [o.logits.flatten() for o in DemoDetector().eval()(torch.zeros(1, 3, 96, 96))]
    )
    assert torch.sigmoid(logits).mean().item() == pytest.approx(0.01, rel=0.5)
