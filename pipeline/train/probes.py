"""Baselines that a network has to beat: one that sees nothing, and linear models.

For classes the majority class and logistic regression; for action units their prevalence and a
logistic regression of each; for values their mean and a ridge regression of each.
`logreg_embedding` sees the embedding averaged over a clip's valid frames, `logreg_map` the feature
map averaged over frames and cells, `logreg_map_grid` every region's features averaged over frames.
None of them sees a graph or the order in time. Where frames are labeled, each sees the frame
alone. The regularization is chosen on validation; where the network is refitted, they are too.

Shape letters: U units (clips or labeled frames), K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.train.folds import Fold, Part, refits
from arpgnet.pipeline.training.data import Dataset
from arpgnet.pipeline.training.kinds.base import Kind
from arpgnet.pipeline.training.selection import macro_f1, unweighted_recall
from arpgnet.pipeline.training.state import CachedState, read_tensors
from arpgnet.pipeline.training.tasks import FrameTask, Task

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
# above this many numbers (400 MB of float64) an input is no cheap baseline any more: the grid is
# left out, and of frames an even part is learned from
MOST_VALUES = 50_000_000
# of ridge regression, on standardized inputs
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
# of frames a linear model of each output learns from at most so many: it is fitted often, and
# neighbors are alike
MOST_FRAMES = 4000
MOST_COMPONENTS = 256
# the name of each of a fold's baselines, a part, and what is predicted of its units, float64 [U, K]
Fitted = list[tuple[str, Part, np.ndarray]]
# what the linear models of a kind are called
LINEAR = {"binary": "logreg", "values": "ridge"}
SCORES = {"uar": unweighted_recall, "macro_f1": macro_f1}


@dataclass(frozen=True)
class Examples:
    """Inputs of one probe, float64 [U, features] (NaN: no face), and labels, [U] or [U, K]."""

    inputs: np.ndarray
    label: np.ndarray

    def known(self) -> Examples:
        seen = ~np.isnan(self.inputs).any(axis=1)
        return Examples(self.inputs[seen], self.label[seen])

    def of(self, output: int) -> Examples:
        """Return those that are annotated with one of several outputs."""
        annotated = ~np.isnan(self.label[:, output])
        return Examples(self.inputs[annotated], self.label[annotated, output])

    def __add__(self, other: Examples) -> Examples:
        both = ((self.inputs, other.inputs), (self.label, other.label))
        return Examples(*map(np.concatenate, both))


class Probes:
    """The probes' inputs for one task.

    Args:
        task: whose units are predicted.
        total: adds up a tensor over the processes that hold the features of some clips each; all
            must ask for the same inputs in the same order.
    """

    def __init__(self, task: Task, total: Callable[[Tensor], Tensor] = lambda own: own) -> None:
        self.task: Task = task
        self._total = total
        features = task.dataset.features
        columns = {
            "logreg_embedding": features.embedding,
            "logreg_map": features.map_vector,
            "logreg_map_grid": features.nodes.flatten(1),
        }
        units = len(task.dataset.clip_ids) if task.name == "clip" else len(task.dataset.valid)
        fits = units * columns["logreg_map_grid"].shape[1] <= MOST_VALUES
        self._columns: dict[str, Tensor] = {
            name: value for name, value in columns.items() if fits or name != "logreg_map_grid"
        }
        self._means: dict[str, np.ndarray] = {
            name: total(mean_over_frames(value, task.dataset)).numpy()
            for name, value in self._columns.items()
            if task.name == "clip"
        }

    @property
    def names(self) -> list[str]:
        return list(self._columns)

    def examples(self, name: str, clips: np.ndarray, *, thin: bool = False) -> Examples:
        """Return a probe's inputs and labels of the units of some clips.

        Args:
            thin: of many frames, give evenly spaced ones: enough to learn from.
        """
        label = self.task.units(clips).label
        if not isinstance(self.task, FrameTask):
            return Examples(self._means[name][clips], label)
        source = self.task.source(clips)
        column = self._columns[name]
        step = max(1, -(-len(source) * column.shape[1] // MOST_VALUES)) if thin else 1
        if thin and self.task.dataset.kind.probe != "classes":
            step = max(step, -(-len(source) // MOST_FRAMES))
        source, label = source[::step], label[::step]
        place = torch.from_numpy(self.task.dataset.partition.local_rows(source))
        inputs = torch.zeros(len(place), column.shape[1], dtype=torch.float64)
        inputs[place >= 0] = column[place[place >= 0]].double().cpu()
        inputs = self._total(inputs)
        inputs[source < 0] = torch.nan
        return Examples(inputs.numpy(), label)


def mean_over_frames(value_RF: Tensor, dataset: Dataset) -> Tensor:
    """Mean of each feature over the valid frames of each clip: float64 [M, F]; zeros where there
    is none, or another process holds the clip."""
    means = torch.zeros(len(dataset.clip_ids), value_RF.shape[1], dtype=torch.float64)
    for clip in np.flatnonzero(dataset.partition.mine(np.arange(len(means)))):
        rows = np.arange(dataset.first[clip], dataset.first[clip + 1])
        place = torch.from_numpy(dataset.partition.local_rows(rows[dataset.valid[rows]]))
        seen = value_RF[place].double()
        means[clip] = seen.sum(0) / max(len(seen), 1)
    return means


def logistic_regression(
    train: Examples,
    val: Examples,
    test: np.ndarray,
    *,
    balanced: bool,
    select: str = "uar",
    refit: bool = False,
) -> np.ndarray:
    """Return multinomial logistic regression on standardized features.

    Args:
        train: every class occurs among them.
        test: float64 [U, features], NaN for a unit without a face.
        balanced: weight classes inversely to their training counts.
        select: the validation score that chooses the regularization, `uar` or `macro_f1`.
        refit: with it, learn again from training and validation.

    Returns:
        Probabilities of the test units, float64 [U, K]; NaN where there is none.
    """
    # 2 s, which a process that only trains need not wait for
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    def fitted(strength: float, inputs: np.ndarray, label: np.ndarray) -> Any:
        weight = "balanced" if balanced else None
        model = LogisticRegression(C=strength, max_iter=1000, class_weight=weight)
        return model.fit(inputs, label)

    seen = ~np.isnan(test).any(axis=1)
    train, val = train.known(), val.known()
    probabilities = np.full((len(test), len(np.unique(train.label))), np.nan)
    # a few hundred clips: threads would only wait for each other, and change last digits
    with threadpool_limits(1):
        inputs, checked, tested = _standardized(train.inputs, val.inputs, test[seen])
        models = {strength: fitted(strength, inputs, train.label) for strength in STRENGTHS}
        # of equal scores the first, which is the strongest regularization
        best = max(
            STRENGTHS, key=lambda one: SCORES[select](val.label, models[one].predict(checked))
        )
        model = models[best]
        if refit:
            both = train + val
            inputs, tested = _standardized(both.inputs, test[seen])
            model = fitted(best, inputs, both.label)
        probabilities[seen] = model.predict_proba(tested)
    return probabilities


def of_each_output(
    train: Examples,
    val: Examples,
    units: Mapping[Part, np.ndarray],
    kind: Kind,
    *,
    balanced: bool,
    refit: bool = False,
) -> dict[Part, np.ndarray]:
    """Return a logistic regression (`kind.probe`: binary) or a ridge regression of each output.

    Wide inputs are reduced to their `MOST_COMPONENTS` principal components.

    Args:
        units: float64 [U, features] of what is predicted in each part, NaN for a unit without a
            face.
        refit: predict the test part by models that have learned from validation too.

    Returns:
        float64 [U, K] of each part; NaN where there is none.
    """
    from threadpoolctl import threadpool_limits

    seen = {part: ~np.isnan(inputs).any(axis=1) for part, inputs in units.items()}
    train, val = train.known(), val.known()
    found = {part: np.full((len(one), len(kind.outputs)), np.nan) for part, one in units.items()}
    with threadpool_limits(1):
        shown = [inputs[seen[part]] for part, inputs in units.items()]
        inputs, checked, *rest = _reduced(train.inputs, val.inputs, *shown)
        both = train + val if refit else train
        final, *tested = _reduced(both.inputs, *shown) if refit else (inputs, *rest)
        for output in range(len(kind.outputs)):
            mine = Examples(inputs, train.label).of(output)
            held = Examples(checked, val.label).of(output)
            strength, model = _chosen(mine, held, output, kind, balanced)
            for part, before, after in zip(units, rest, tested, strict=True):
                if refit and part == "test":
                    last = Examples(final, both.label).of(output)
                    values = _linear(last, kind.probe, strength, balanced)(after)
                else:
                    values = model(before)
                # a ridge regression goes beyond it, for an odd face far beyond
                found[part][seen[part], output] = np.clip(values, *kind.range)
    return found


def _chosen(
    train: Examples, val: Examples, output: int, kind: Kind, balanced: bool
) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """Choose the regularization of one output by the kind's score on validation, of equal ones the
    strongest; return it and its model."""
    candidates = STRENGTHS if kind.probe == "binary" else PENALTIES[::-1]
    one = replace(kind, outputs=kind.outputs[output : output + 1])
    score = kind.select(per_frame=True)
    models = {strength: _linear(train, kind.probe, strength, balanced) for strength in candidates}

    def reached(strength: float) -> float:
        values = models[strength](val.inputs)
        return one.scores(val.label[:, None], values[:, None])[score]

    best = max(candidates, key=reached)
    return best, models[best]


def _linear(
    examples: Examples, probe: str, strength: float, balanced: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit one output; return the function from inputs to probabilities of presence, or values."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if probe == "values":
        ridge = Ridge(alpha=strength).fit(examples.inputs, examples.label)
        return lambda inputs: ridge.predict(inputs)
    weight = "balanced" if balanced else None
    # Newton's method: of few features and many frames it needs a tenth of the time
    model = LogisticRegression(
        C=strength, max_iter=1000, class_weight=weight, solver="newton-cholesky"
    )
    model.fit(examples.inputs, examples.label > 0.5)
    return lambda inputs: model.predict_proba(inputs)[:, 1]


def _scaled(learned: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Standardize inputs [U, features] by the first ones' statistics."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(learned)
    return [scaler.transform(inputs) for inputs in (learned, *others)]


def _standardized(learned: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Standardize inputs, and rotate wide ones into the span of the first ones."""
    found = _scaled(learned, *others)
    if learned.shape[1] > learned.shape[0]:
        # with an L2 penalty the solution lies in the span of the training clips: rotating into it
        # gives the same probabilities from far fewer numbers
        basis = np.linalg.svd(found[0], full_matrices=False)[2].T
        found = [inputs @ basis for inputs in found]
    return found


def _reduced(learned: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Standardize inputs by the first ones' statistics, and reduce wide ones to the first ones'
    principal components."""
    found = _scaled(learned, *others)
    if learned.shape[1] > MOST_COMPONENTS:
        # of the smaller of both products: a tenth of the time of a singular value decomposition
        wide = learned.shape[1] > len(learned)
        product = found[0] @ found[0].T if wide else found[0].T @ found[0]
        values, vectors = np.linalg.eigh(product)
        largest = values > 1e-9 * values[-1]
        values, vectors = (
            values[largest][-MOST_COMPONENTS:],
            vectors[:, largest][:, -MOST_COMPONENTS:],
        )
        basis = found[0].T @ (vectors / np.sqrt(values)) if wide else vectors
        found = [inputs @ basis for inputs in found]
    return found


def baselines(
    probes: Probes, fold: Fold, *, params: TrainParams
) -> Iterator[tuple[str, Part, np.ndarray]]:
    """Yield each baseline's name and what it predicts of the fold's test units, float64 [U, K];
    where a threshold may be chosen on validation, of the validation units too."""
    task, kind, balanced = probes.task, probes.task.dataset.kind, params.class_weights != "none"
    refit = refits(params, task, fold)
    learned = fold.learned if refit else fold.train
    parts: tuple[Part, ...] = ("val", "test") if kind.probe == "binary" else ("test",)
    for part in parts:
        taught = task.units(learned if part == "test" else fold.train).label
        yield kind.naive, part, np.tile(kind.prior(taught), (len(task.units(fold.clips(part))), 1))
    for name in probes.names:
        train = probes.examples(name, fold.train, thin=True)
        val = probes.examples(name, fold.val, thin=True)
        units = {part: probes.examples(name, fold.clips(part)).inputs for part in parts}
        if kind.probe == "classes":
            chosen: dict[str, Any] = {"select": task.select, "refit": refit}
            test = logistic_regression(train, val, units["test"], balanced=balanced, **chosen)
            yield name, "test", test
            continue
        found = of_each_output(train, val, units, kind, balanced=balanced, refit=refit)
        for part, values in found.items():
            yield name.replace("logreg", LINEAR[kind.probe]), part, values


class CachedBaselines(CachedState):
    """The entry of a fold's baselines in the store."""

    NAMESPACE = "baselines"

    def finished(self) -> Fitted | None:
        found = self._get(self.NAMESPACE, read_tensors)
        if found is None:
            return None
        tensors, info = found
        return [(name, part, tensors[f"{name}/{part}"].numpy()) for name, part in info["names"]]

    def finish(self, fitted: Fitted) -> None:
        """Store what was fitted."""
        tensors = {f"{name}/{part}": torch.from_numpy(values) for name, part, values in fitted}
        self._finish(tensors, {"names": [[name, part] for name, part, _ in fitted]})
