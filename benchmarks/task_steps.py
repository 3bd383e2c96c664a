"""Time a training step of other tasks against that of expressions.

    python benchmarks/task_steps.py [--batch 32] [--rounds 15] [--threads 1] [--out FILE]

The same network, clips and batches at T = 16 frames, 49 regions, 512 channels and the other
settings of params.yaml, in float32: gathering the batch, forward, the task's own loss, backward,
gradient clipping and optimizer, in interleaved rounds. With one thread CPU time is measured, which
other load on the machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from common import heading, table, write_out
from torch import Tensor
from train import batches
from train_bound import seconds_of
from train_steps import FRAMES, Clips, Step, graph_metadata, made_features, settings, updater

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.training.kinds import KINDS, trained_task
from arpgnet.pipeline.training.network import build_network, logits_of, network_config

CLASSES = [f"class_{number}" for number in range(8)]
UNITS = [f"au_{number}" for number in range(1, 17)]


@dataclass(frozen=True)
class Case:
    """A task, what it predicts of a clip or of each of its frames, and changed settings."""

    name: str
    kind: str
    outputs: list[str]
    per_frame: bool = False
    abrnet: bool = False
    relation_loss: float = 0.0


EXPRESSION = Case("expression, 8 classes, clips", "expression", CLASSES)
CASES = (
    EXPRESSION,
    Case("action units, 16, clips", "action_units", UNITS),
    Case("action units, 16, frames", "action_units", UNITS, per_frame=True),
    Case("action units, 16, frames, `relation.head: abrnet`", "action_units", UNITS, True, True),
    Case("the same, `task.relation_loss: 1`", "action_units", UNITS, True, True, 1.0),
    Case("intensity, 16, frames", "intensity", UNITS, per_frame=True),
    Case("valence and arousal, clips", "valence_arousal", ["valence", "arousal"]),
)


def labels(case: Case, clips: int) -> Tensor:
    """Random labels: int64 [M], float32 [M, K] or of frames [M, T, K]."""
    made = torch.Generator().manual_seed(0)
    if case.kind == "expression":
        return torch.randint(len(case.outputs), (clips,), generator=made)
    shape = (clips, FRAMES, len(case.outputs)) if case.per_frame else (clips, len(case.outputs))
    value = torch.rand(shape, generator=made)
    return (value < 0.3).float() if case.kind == "action_units" else value


def params_of(case: Case) -> Params:
    raw = settings().model_dump()
    raw["task"] |= {"kind": case.kind, "relation_loss": case.relation_loss}
    raw["relation"]["head"] = "abrnet" if case.abrnet else "none"
    return parse_params(raw)


def network_of(case: Case, params: Params) -> ARPGNet:
    torch.manual_seed(0)
    metadata = graph_metadata(params)
    network = build_network(network_config(params, metadata, len(case.outputs), FRAMES), metadata)
    channels = metadata["embedding_dim"]
    unit = torch.zeros(channels), torch.ones(channels)
    network.set_feature_statistics(nodes=unit, map_vector=unit)
    return network.train()


def step_of(case: Case, clips: Clips) -> Step:
    """A step as `train.fit` takes it, without augmentation, which is the same for all."""
    params = params_of(case)
    kind = trained_task(case.kind, case.outputs)
    if case.kind != "expression":
        kind = replace(kind, loss=params.task.loss_name)
    if case.relation_loss:
        kind = replace(kind, relation_loss=case.relation_loss)
    taught = clips.label.numpy()
    objective = kind.objective(taught, params.train)
    network = network_of(case, params)
    update = updater(network.parameters(), fused=True)

    def step(index: Tensor) -> Tensor:
        batch = clips.take(index)
        loss = objective.loss(logits_of(network, batch), batch.label)
        return update(loss / objective.weight(taught[index.numpy()]))

    return step


def measure(batch: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each task's step in each round; all see the same batches."""
    clips = made_features(max(256, batch), torch.device("cpu"))
    steps = {
        case.name: step_of(case, replace(clips, label=labels(case, len(clips)))) for case in CASES
    }
    drawn = batches(len(clips), batch, clips.device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        index = next(drawn)
        for name, step in steps.items():
            seconds = seconds_of(partial(step, index), clips.device)
            if number >= 2:  # the first ones allocate
                times[name].append(1e3 * seconds)
    return times


def main() -> None:
    assert set(KINDS) == {case.kind for case in CASES}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    times = measure(args.batch, args.rounds)
    base = times[EXPRESSION.name]
    rows = [
        [
            name,
            f"{statistics.median(each):.0f} ({min(each):.0f})",
            # of one round, so that both met the same load on the machine
            f"{statistics.median(mine / its for mine, its in zip(each, base, strict=True)):.3f}",
            f"{min(each) / min(base):.3f}",
        ]
        for name, each in times.items()
    ]
    clock = "CPU time of one thread" if args.threads == 1 else "wall time"
    text = heading("A training step of each task", ["torch"], "benchmarks/task_steps.py")
    text += (
        f"\nBatch {args.batch}, float32, {clock}: median (fastest) of {args.rounds} interleaved "
        "rounds; the ratio to expressions is the median of the rounds' ratios.\n\n"
    )
    text += table(["task", "ms", "ratio", "of the fastest"], rows)
    write_out(text, args.out)


if __name__ == "__main__":
    main()
