"""How long commands take before they work, as a ratio to `import torch` in the same run.

In an empty folder every command imports what it needs and ends with one line: there is no run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import REPOSITORY, heading, table, write_out

TORCH = "import torch"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    TORCH: ["-c", TORCH],
    **{
        f"arpgnet {words}": ["-m", "arpgnet.pipeline.cli", *words.split()]
        for words in (
            "--help",
            "export --help",
            "export",
            "publish released",
            "predict talk.mp4",
        )
    },
}


def seconds(arguments: list[str], folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of the interpreter with these arguments."""
    before, start = os.times(), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        # in turns: other work on the machine hits all of them alike
        for _ in range(arguments.repeats):
            for name, words in COMMANDS.items():
                found[name].append(seconds(words, folder))
    medians = {
        name: [statistics.median(times) for times in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    rows = [
        [f"`{name}`", *(f"{value:.2f}" for value in now), *(
            f"{a / b:.2f}" for a, b in zip(now, medians[TORCH], strict=True)
        )]
        for name, now in medians.items()
    ]  # fmt: skip
    title = heading(
        "Start of the commands", ["torch", "onnxruntime", "typer"], "benchmarks/startup.py"
    )
    header = ["command", "wall s", "CPU s", "wall / torch", "CPU / torch"]
    note = (
        f"Medians of {arguments.repeats}, in turns. `export`, `publish` and `predict` without a "
        "run: they import everything and end.\n"
    )
    write_out(f"{title}\n{note}\n{table(header, rows)}", arguments.out)


if __name__ == "__main__":
    main()
