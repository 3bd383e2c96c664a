"""Fine-tuning a part of the appearance network against the whole: CPU time and validation UAR.

    python benchmarks/finetune.py [--pack demo] [--subjects 150] [--epochs 12]
        [--layers all,last-3,head] [--views 3] [--lr 3e-4] [--most N] [--out FILE]

On the demo's rendered stills, aligned by the demo pack's detector, with every other setting at its
default. CPU seconds are those of all threads of the process (user and system), which other
programs on the machine change less than the time on the clock. `stills/s` is stills learned from,
epochs times stills, by the CPU seconds of two cores: of the steps and the validation alone, and
with the frozen part's activations, which a second run takes from the store. `--most` trains on so
many stills, for networks that take long; its UAR means little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import heading, table, write_out
from lightning_fabric import Fabric

from arpgnet.pipeline.common.params import FinetuneParams, Params
from arpgnet.pipeline.finetune.data import Stills, load_stills
from arpgnet.pipeline.finetune.inputs import Activations, Crops, Inputs
from arpgnet.pipeline.finetune.network import build_trainee, split, tuned_weights
from arpgnet.pipeline.finetune.tune import Tuner, threads
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.stills.crops import CropJob
from arpgnet.pipeline.stills.demo import list_stills
from arpgnet.pipeline.stills.target import SIDE, Target
from arpgnet.pipeline.store import Store, store_root
from arpgnet.pipeline.training.device import reproducible

CORES = 2


class NoTarget(Target):
    """A target without clips: no still is refused."""

    def __init__(self) -> None:
        self.sums, self.people = set(), set()
        self._images = self._faces = np.empty((0, SIDE**2), np.float32)


def demo_stills(params: Params) -> Stills:
    """Aligned stills, from the usual store where they have been made before."""
    workers, limits = pool_size(params.engine)
    detector = load_pack("demo", ("detector",)).models["detector"]
    job = CropJob(detector, params.align, params.finetune.aligned, "cpu", store_root())
    listing = list_stills(params.finetune, workers)
    return load_stills(listing, job, NoTarget(), params.finetune, workers, limits)


def fewer(stills: Stills, most: int) -> Stills:
    """Return the first stills of each part, drawn at random."""
    rng = np.random.default_rng(0)
    train, val = rng.permutation(stills.train), rng.permutation(stills.val)
    return replace(stills, train=train[:most], val=val[: max(most // 6, 8)])


def train(
    spec: ModelSpec, stills: Stills, params: FinetuneParams, store: Store
) -> tuple[float, float, float, int]:
    """Return CPU s of the activations and of the training, the best UAR, weights trained."""
    with reproducible(threads(params)):
        torch.manual_seed(params.seed)
        trainee = build_trainee(spec, params.heads, len(stills.classes), train_norms=False)
        frozen = split(trainee, params.layers, spec.path.name)
        fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
        start = time.process_time()
        inputs: Inputs = (
            Crops(stills, params, fabric.device)
            if frozen is None
            else Activations(frozen, spec, stills, params, fabric.device, store)
        )
        middle = time.process_time()
        tuner = Tuner(fabric, trainee, stills, inputs, params, lambda: None)
        state = tuner.fit(None, lambda *_: None, lambda _: None)
        end = time.process_time()
    weights = sum(array.size for array in tuned_weights(trainee).values())
    best = max(row["val_uar"] for row in state.history)
    return middle - start, end - middle, best, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", default="demo")
    parser.add_argument("--subjects", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--layers", default="all,last-3,head")
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--most", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = {"subjects": args.subjects, "epochs": args.epochs, "views": args.views}
    finetune = FinetuneParams(**settings, lr=args.lr)
    stills = demo_stills(Params().model_copy(update={"finetune": finetune}))
    if args.most:
        stills = fewer(stills, args.most)
    spec = load_pack(args.pack, ("embedding",)).models["embedding"]
    learned = args.epochs * len(stills.train)
    rows = []
    baseline = (0.0, 0.0)
    for layers in args.layers.split(","):
        with tempfile.TemporaryDirectory() as folder:
            params = finetune.model_copy(update={"layers": layers})
            cached, steps, uar, weights = train(spec, stills, params, Store(Path(folder)))
            size = sum(each.bytes for each in Store(Path(folder)).stats().values())
        rates = CORES * learned / steps, CORES * learned / (cached + steps)
        if not rows:
            baseline = rates
        ratios = [rate / base for rate, base in zip(rates, baseline, strict=True)]
        rows.append(
            [
                layers,
                f"{weights:,}",
                f"{cached:.1f}",
                f"{steps:.1f}",
                *(f"{rate:.0f} ({ratio:.1f})" for rate, ratio in zip(rates, ratios, strict=True)),
                f"{size / 1e6:.0f}",
                f"{uar:.3f}",
            ]
        )
        print(rows[-1], flush=True)
    title = f"Fine-tuning the pack {Path(args.pack).name} on {len(stills.train)} stills"
    columns = (
        *("layers", "weights trained", "activations, CPU s", "training, CPU s"),
        *("stills/s (ratio), training", "stills/s (ratio), with activations"),
        *("activations, MB", "validation UAR"),
    )
    text = heading(title, ["torch", "numpy"], "benchmarks/finetune.py")
    count = f"- {len(stills.train)} stills to train on, {len(stills.val)} to validate with, "
    text += f"{count}{args.epochs} epochs, {args.views} views.\n\n" + table(columns, rows)
    write_out(text, args.out)


if __name__ == "__main__":
    main()
