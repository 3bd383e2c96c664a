"""Losses and outputs of the tasks against plain formulas, and the mask over what is unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.kinds.action_units import (
    ActionUnits,
    positive_weights,
    rarity_weights,
    relation_term,
)
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.kinds.expression import Expression
from arpgnet.pipeline.training.kinds.intensity import Intensity
from arpgnet.pipeline.training.kinds.valence_arousal import ValenceArousal
from arpgnet.pipeline.training.selection import concordance

NAN = float("nan")
UNITS = ["au_1", "au_2", "au_4"]
KINDS: list[Kind] = [
    ActionUnits(UNITS, "bce"),
    ActionUnits(UNITS, "bce", relation_loss=1.0),
    ActionUnits(UNITS, "asymmetric"),
    Intensity([f"{unit}_intensity" for unit in UNITS], "mse"),
    Intensity([f"{unit}_intensity" for unit in UNITS], "ccc"),
    ValenceArousal(["valence", "arousal"], "ccc"),
    ValenceArousal(["valence", "arousal"], "mse"),
]


def drawn(kind: Kind, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels; every fifth label is unknown."""
    torch.manual_seed(0)
    logits = torch.randn(*shape, len(kind.outputs))
    label = kind.values(torch.randn_like(logits) * 2)
    if isinstance(kind, ActionUnits):
        label = (label > 0.6).float()
    label.view(-1)[::5] = NAN
    return logits, label


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}-{kind.loss}")
def test_what_is_not_annotated_teaches_nothing(kind: Kind) -> None:
    logits, label = drawn(kind, 6, 4)
    logits.requires_grad_()
    objective = kind.objective(label.numpy(), TrainParams())
    loss = objective.loss(logits, label)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert (logits.grad[label.isnan()] == 0).all()
    assert (logits.grad[~label.isnan()] != 0).all()
    changed = torch.where(label.isnan(), logits.detach() + 5, logits.detach())
    assert objective.loss(changed, label).item() == pytest.approx(loss.item(), rel=1e-5)
    assert objective.weight(label.numpy()) == (~label.isnan()).sum()
    nothing = torch.full_like(label, NAN)
    assert objective.loss(logits, nothing).item() == 0
    assert objective.weight(nothing.numpy()) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}-{kind.loss}")
def test_values_and_logits_are_inverse_and_finite(kind: Kind) -> None:
    logits, _ = drawn(kind, 50)
    assert torch.allclose(kind.logits(kind.values(logits)), logits, atol=1e-3)
    assert (
        kind.logits(kind.values(torch.tensor([-1e4, 1e4, 0.0])[: len(kind.outputs)]))
        .isfinite()
        .all()
    )


def test_cross_entropy_weighs_presence() -> None:
    kind = ActionUnits(UNITS, "bce")
    logits, label = drawn(kind, 40)
    found = kind.objective(label.numpy(), TrainParams(class_weights="balanced"))
    p = torch.sigmoid(logits).double().numpy()
    y = label.double().numpy()
    known = ~np.isnan(y)
    weight = [(y[known[:, k], k] == 0).sum() / (y[known[:, k], k] == 1).sum() for k in range(3)]
    each = -(np.array(weight) * y * np.log(p) + (1 - y) * np.log(1 - p))
    assert found.loss(logits, label).item() == pytest.approx(each[known].sum(), rel=1e-5)
    assert positive_weights(y, "balanced") == pytest.approx(weight)
    assert positive_weights(y, "sqrt") == pytest.approx(np.sqrt(weight))


def test_asymmetric_loss_is_the_published_one() -> None:
    """As the public code of ME-GraphAU computes it: -(y log p + (1 - y) p log(1 - p)) w."""
    kind = ActionUnits(UNITS, "asymmetric")
    logits, label = drawn(kind, 40)
    found = kind.objective(label.numpy(), TrainParams(class_weights="balanced"))
    p = torch.sigmoid(logits).double().numpy()
    y = label.double().numpy()
    rate = np.nanmean(y, axis=0)
    weight = (1 / rate) / (1 / rate).sum() * 3
    each = -(y * np.log(p) + (1 - y) * p * np.log(1 - p)) * weight
    assert found.loss(logits, label).item() == pytest.approx(np.nansum(each), rel=1e-5)
    assert rarity_weights(y, "balanced") == pytest.approx(weight)


def test_relation_term_compares_pairs_that_are_annotated_together() -> None:
    kind = ActionUnits(UNITS, "bce", relation_loss=3.0)
    logits, label = drawn(kind, 40)
    p, y = torch.sigmoid(logits).double().numpy(), label.double().numpy()
    gaps = []
    for i in range(3):
        for j in range(3):
            both = ~np.isnan(y[:, i]) & ~np.isnan(y[:, j])
            if i != j:
                predicted, annotated = (one[both, i] * one[both, j] for one in (p, y))
                gaps.append((predicted.mean() - annotated.mean()) ** 2)
    assert relation_term(logits, label).item() == pytest.approx(np.mean(gaps), rel=1e-4)
    alone = ActionUnits(UNITS, "bce").objective(label.numpy(), TrainParams())
    joined = kind.objective(label.numpy(), TrainParams())
    extra = joined.loss(logits, label) - alone.loss(logits, label)
    expected = 3 * np.mean(gaps) * joined.weight(label.numpy())
    assert extra.item() == pytest.approx(expected, rel=1e-3)


def test_concordance_loss_is_one_minus_the_score() -> None:
    kind = ValenceArousal(["valence", "arousal"], "ccc")
    logits, label = drawn(kind, 60)
    found = kind.objective(label.numpy(), TrainParams())
    values, y = kind.values(logits).double().numpy(), label.double().numpy()
    expected = 0.0
    for output in range(2):
        known = ~np.isnan(y[:, output])
        score = concordance(y[known, output], values[known, output])
        expected += (1 - score) * known.sum()
    assert found.loss(logits, label).item() == pytest.approx(expected, rel=1e-5)


def test_a_training_part_without_a_unit_is_refused() -> None:
    kind = ActionUnits(UNITS, "bce")
    label = np.array([[1, 0, NAN], [0, 1, NAN]])
    assert kind.problem(label) == "with au_4 (leave it out of task.targets)"
    nothing = np.zeros((4, 3))
    assert kind.problem(nothing) == f"with {', '.join(UNITS)} (leave them out of task.targets)"
    label[:, 2] = 1
    assert kind.problem(label) == "without au_4 (leave it out of task.targets)"
    label[0, 2] = 0
    assert not kind.problem(label)
    assert (
        ValenceArousal(["valence"], "ccc").problem(np.full((4, 1), 0.5)) == "of different valence"
    )


def test_baselines_without_input() -> None:
    label = np.array([[1, 0, NAN], [0, 0, 1], [1, 1, 0]])
    assert ActionUnits(UNITS, "bce").prior(label) == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    assert Expression(["a", "b"]).prior(np.array([0, 0, 1])) == pytest.approx([2 / 3, 1 / 3])
