"""Peak memory of the whole process tree, stage by stage: few clips, many clips, one long clip.

    python benchmarks/memory.py [--many 2000] [--minutes 60] [--engine local|ray] [--out FILE]

Rendered clips, the demo pack, two workers. PSS (a shared page counts in parts) is what the machine
needs; RSS counts pages that processes share once for each. Sampled 10 times a second. Of Ray, the
tree holds its own processes too; the largest process is a worker's.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from common import Project, heading, table, write_out
from rendered import render_sources, write_copies, write_long_clip

STAGES = ("ingest", "decode", "align", "finetune", "landmark", "appearance", "graph")


def watch(project: Project, stage: str) -> tuple[float, float, float, float]:
    """Seconds of a stage; peak PSS and RSS in MB of its process and all below it, and the peak PSS
    of the largest of them.

    Raises:
        RuntimeError: the stage failed.
    """
    start = time.perf_counter()
    with (project.root / f"{stage}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"arpgnet.stages.{stage}"],
            cwd=project.root,
            env=project.environment,
            stdout=log,
            stderr=log,
        )
        pss = rss = one_pss = 0
        while process.poll() is None:
            found = [_memory(one) for one in _tree(process.pid)]
            pss = max(pss, sum(one[0] for one in found))
            rss = max(rss, sum(one[1] for one in found))
            one_pss = max([one_pss, *(one[0] for one in found)])
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError((project.root / f"{stage}.log").read_text()[-2000:])
    return time.perf_counter() - start, pss / 1e6, rss / 1e6, one_pss / 1e6


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _memory(process: psutil.Process) -> tuple[int, int]:
    with contextlib.suppress(psutil.Error):
        found = process.memory_full_info()
        return found.pss, found.rss
    return 0, 0


def settings(manifest: Path, **more: Any) -> dict[str, Any]:
    return {
        "dataset.name": "csv",
        "dataset.root": str(manifest.parent),
        "dataset.manifest": str(manifest),
        "dataset.group_by": "clip",
        "dataset.folds": 2,
        "engine.workers": 2,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--minutes", type=int, default=60, help="0: no long clip")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sources = render_sources(root / "sources")
        cases = {
            f"{count} clips": settings(write_copies(sources, root / f"clips{count}", count))
            for count in (args.few, args.many)
        }
        if args.minutes:
            cases[f"one clip of {args.minutes} min, 1080p, 5 frames a second"] = settings(
                write_long_clip(sources, root / "long", 60 * args.minutes),
                decode__sampling="fps",
                decode__fps=5.0,
                engine__clip_timeout_s=7200,
            )
        rows = []
        for number, (name, chosen) in enumerate(cases.items()):
            project = Project(root / f"project{number}", chosen | {"engine.name": args.engine})
            for stage in STAGES:
                seconds, *megabytes = watch(project, stage)
                peaks = (f"{value:.0f}" for value in megabytes)
                rows.append([name, stage, *peaks, f"{seconds:.1f}"])
                print(*rows[-1], file=sys.stderr, flush=True)
    text = "\n".join(
        [
            heading(
                "Peak memory of preprocessing",
                ["torch", "onnxruntime", "pyarrow", "av"],
                "benchmarks/memory.py",
            ),
            f"Engine: {args.engine}. Peaks in MB.\n",
            table(["what", "stage", "PSS", "RSS", "PSS, largest process", "seconds"], rows),
        ]
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
