"""The per-clip stages on Ray against the local engine: what distributing costs on one machine.

    python benchmarks/cluster.py [--clips 500] [--rounds 2] [--out FILE]

Rendered clips, the demo pack, two workers. Starting is not counted: of every engine and stage a run
on 12 clips is timed too, and taken off. Both engines in turn; the outputs are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from common import Project, heading, table, write_out
from memory import settings
from rendered import render_sources, write_copies

STAGES = ("decode", "align", "landmark", "appearance", "graph")
ENGINES = ("local", "ray")
FEW = 12


def time_stages(root: Path, manifest: Path, engine: str) -> tuple[dict[str, float], dict[str, str]]:
    """Wall seconds of each stage from nothing, and a digest of its out."""
    project = Project(root, settings(manifest, engine__name=engine))
    seconds, outputs = {}, {}
    for stage in ("ingest", "decode", "align", "finetune", "landmark", "appearance", "graph"):
        took, _ = project.stage(stage)
        if stage in STAGES:
            seconds[stage] = took
    for path in sorted((root / "data").rglob("*")):
        if path.is_file():
            outputs[path.relative_to(root).as_posix()] = hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
    shutil.rmtree(root)
    return seconds, outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    net: dict[tuple[str, str], list[float]] = {}
    start: dict[tuple[str, str], list[float]] = {}
    outputs = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sources = render_sources(root / "sources")
        few = write_copies(sources, root / "few", FEW)
        many = write_copies(sources, root / "many", args.clips)
        for number in range(args.rounds):
            for engine in ENGINES:
                base, _ = time_stages(root / f"few-{engine}{number}", few, engine)
                full, made = time_stages(root / f"many-{engine}{number}", many, engine)
                outputs.append(made)
                for stage in STAGES:
                    net.setdefault((engine, stage), []).append(full[stage] - base[stage])
                    start.setdefault((engine, stage), []).append(base[stage])
                print(engine, number, full, file=sys.stderr, flush=True)
    named = ["local", "Ray", "start, local", "start, Ray"]
    columns = {
        stage: [
            statistics.median(times[engine, stage]) for times in (net, start) for engine in ENGINES
        ]
        for stage in STAGES
    }
    columns["all"] = [sum(values) for values in zip(*columns.values(), strict=True)]
    rows = [
        [stage, *(f"{value:.1f}" for value in values), f"{values[1] / values[0]:.2f}"]
        for stage, values in columns.items()
    ]
    same = "yes" if all(made == outputs[0] for made in outputs) else "NO"
    text = "\n".join(
        [
            heading(
                "Ray against the local engine", ["ray", "pyarrow", "av"], "benchmarks/cluster.py"
            ),
            f"{args.clips} rendered clips, 16 frames each, two workers on one machine, median of "
            f"{args.rounds} rounds in turn. Outs byte-identical: {same}.\n",
            table(["stage", *(f"{name}, s" for name in named), "Ray / local"], rows),
            f"Seconds are those of the clips beyond the first {FEW}; `start` is a whole stage on "
            f"{FEW} clips.\n",
        ]
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
