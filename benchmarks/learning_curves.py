"""Learning curves of sets of different sizes: does a run train to its end by default?

Each set is rendered, and run from ingest to train with the default settings but for its size:

    python benchmarks/learning_curves.py --sizes 60 100 300 [--fps 12.5] [--out RESULT.md]

A clip's sampled frames are as many at a lower frame rate, which takes less time to render.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Project, heading, table, write_out

from arpgnet.pipeline.tables.curves import RUNS, read_curves, read_run_metadata

STAGES = (
    "ingest", "decode", "align", "finetune", "landmark", "appearance", "graph", "train", "evaluate",
)  # fmt: skip
CLASSES = 8
# people and clips of each class; 300 is the demo itself
SHAPES = {60: (8, 1), 100: (13, 1), 300: (12, 3), 1000: (42, 3), 3000: (125, 3)}
# parts of a run's length at which the validation score is shown
PARTS = (0.2, 0.4, 0.6, 0.8, 1.0)
# a set of this size is trained on its first fold, with one seed: the others would say the same
ONE_RUN_FROM = 3000


@dataclass(frozen=True)
class Curve:
    """A run: epochs of `steps` each that it may have, the validation UAR of those that it had, and
    which was chosen."""

    epochs: int
    steps: int
    uar: np.ndarray
    best: int
    improving: bool

    def at(self, part: float) -> float:
        """Return the best UAR until a part of the length that the settings allow."""
        return float(self.uar[: max(1, round(part * self.epochs))].max())


def curves_of(root: Path, epochs: int) -> list[Curve]:
    """Read the runs of a workspace."""
    found = []
    for folder in sorted((root / RUNS).iterdir()):
        metadata = read_run_metadata(folder)
        uar = np.array([row["val_uar"] for row in read_curves(folder / "curves")])
        found.append(
            Curve(
                epochs,
                metadata["epoch_steps"],
                uar[: metadata["epochs"]],
                metadata["best_epoch"],
                metadata["improving"],
            )
        )
    return found


def measure(project: Project, size: int, fps: float) -> list[str]:
    """Run one size; return its row of the table."""
    subjects, clips = SHAPES[size]
    few = size >= ONE_RUN_FROM
    project.set(
        {
            "dataset.demo.subjects": subjects,
            "dataset.demo.clips_per_class": clips,
            "dataset.demo.fps": fps,
            "train.folds": [0] if few else "all",
            "train.seeds": [0] if few else [0, 1],
        }
    )
    took = {}
    for stage in STAGES:
        took[stage], _ = project.stage(stage)
        print(f"{size}: {stage} {took[stage]:.0f} s", file=sys.stderr, flush=True)
    epochs = 25
    runs = curves_of(project.root, epochs)
    chosen = sorted(run.best + 1 for run in runs)
    ran = sorted(len(run.uar) for run in runs)
    row = [
        str(subjects * CLASSES * clips),
        str(len(runs)),
        str(runs[0].epochs * runs[0].steps),
        f"{chosen[0]} to {chosen[-1]}" if len(runs) > 1 else str(chosen[0]),
        f"{ran[0]} to {ran[-1]}" if len(runs) > 1 else str(ran[0]),
        str(sum(run.improving for run in runs)),
    ]
    row += [f"{np.mean([run.at(part) for run in runs]):.3f}" for part in PARTS]
    return [*row, f"{took['train']:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(SHAPES), default=[60])
    parser.add_argument("--fps", type=float, default=25.0, help="frame rate of the rendered clips")
    parser.add_argument("--out", type=Path, help="file for the result")
    parser.add_argument("--folder", type=Path, help="scratch folder, which stays")
    args = parser.parse_args()
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        project = Project(args.folder or Path(folder) / "project", {})
        rows = [measure(project, size, args.fps) for size in args.sizes]
    header = (
        "clips", "runs", "steps at most", "epoch chosen", "epochs run", "improving at the end",
        *(f"UAR at {part:.0%}" for part in PARTS), "train, wall s",
    )  # fmt: skip
    text = heading("Learning curves of rendered sets", ["torch"], "benchmarks/learning_curves.py")
    text += f"- Wall time in all: {time.time() - start:.0f} s, other work on the cores.\n\n"
    text += table(header, rows)
    text += (
        "\nUAR at p: the best validation UAR until p of the steps, mean over folds and seeds; an "
        "epoch is chosen from those that were run.\n"
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
