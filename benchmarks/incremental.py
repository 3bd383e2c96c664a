"""What a change costs: one more clip, a setting changed and changed back, nothing at all.

    python benchmarks/incremental.py [--clips 500] [--many 2000] [--out FILE]

`dvc repro graph` on rendered clips with the demo pack. Beside the figures stands a transcript: what
the stages said when a clip was added, a setting flipped, and the run killed with SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Project, heading, table, write_out
from rendered import render_sources, write_copies

SAID = re.compile(r"^(\w+: \d+ computed, .*|Stage '\w+' .*|Running stage '\w+':|error: .*)$", re.M)


def project_of(root: Path, manifest: Path) -> Project:
    """A project with git and DVC, as `make prepare` leaves it."""
    chosen: dict[str, Any] = {
        "dataset.name": "csv",
        "dataset.root": str(manifest.parent),
        "dataset.manifest": str(manifest),
        "dataset.group_by": "clip",
        "dataset.folds": 2,
    }
    project = Project(root, chosen)
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    for option in ("core.analytics", "core.check_update"):
        project.run("dvc", "config", option, "false")
    return project


class Transcript:
    """Runs `dvc repro graph` and keeps what was said."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(f"# {text}")

    def repro(self) -> float:
        seconds, output = self._project.run("dvc", "repro", "graph")
        self.lines += ["$ dvc repro graph", *SAID.findall(output), f"({seconds:.1f} s)"]
        return seconds

    def kill(self, after_s: float) -> None:
        """`dvc repro graph` and all its children, by SIGKILL."""
        process = subprocess.Popen(
            ["dvc", "repro", "graph"],
            cwd=self._project.root,
            env=self._project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        time.sleep(after_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        self.lines += [
            f"$ dvc repro graph   # kill -9 of everything after {after_s:.0f} s",
            *SAID.findall(output),
        ]


def one_more(root: Path, sources: list[Path], clips: int) -> tuple[list[list[str]], list[str]]:
    """One clip added to many, against that clip alone; and the flips, on the same project."""
    folder = root / "clips"
    project = project_of(root / "many", write_copies(sources, folder, clips))
    log = Transcript(project)
    log.say(f"{clips} clips, an empty store")
    full = log.repro()
    idle = min(log.repro() for _ in range(2))
    log.say("one clip more")
    write_copies(sources, folder, 1, first=clips)
    more = log.repro()
    log.say("a setting is changed, and changed back")
    project.set({"align.det_thresh": 0.6})
    flipped = log.repro()
    project.set({"align.det_thresh": 0.5})
    back = log.repro()
    # two classes at least: the clip and another that is there already
    few = root / "few"
    alone = project_of(root / "alone", write_copies(sources, few, 16))
    alone_log = Transcript(alone)
    alone_log.repro()
    write_copies(sources, few, 1, first=16)
    single = alone_log.repro()
    rows = [
        [f"{clips} clips, from nothing", f"{full:.1f}"],
        ["nothing changed", f"{idle:.1f}"],
        [f"one clip added to {clips}", f"{more:.1f}"],
        ["one clip added to 16", f"{single:.1f}"],
        ["the difference of these two (asked for: 10 s and a tenth of the clip)",
         f"{more - single:.1f}"],
        ["align.det_thresh changed", f"{flipped:.1f}"],
        ["and changed back", f"{back:.1f}"],
    ]  # fmt: skip
    log.say("everything again from an empty store, killed, and run again")
    for folder in ("store", "data", ".dvc/cache"):
        shutil.rmtree(project.root / folder)
    log.kill(after_s=0.4 * full)
    log.repro()
    return rows, log.lines


def nothing_changed(root: Path, sources: list[Path], clips: int) -> list[list[str]]:
    project = project_of(root / "still", write_copies(sources, root / "still_clips", clips))
    log = Transcript(project)
    full = log.repro()
    times = sorted(log.repro() for _ in range(3))
    return [
        [f"{clips} clips, from nothing", f"{full:.1f}"],
        [f"{clips} clips, nothing changed (asked for: 3 s)", f"{times[1]:.1f}"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sources = render_sources(root / "sources")
        rows, lines = one_more(root, sources, args.clips)
        rows += nothing_changed(root, sources, args.many)
    text = "\n".join(
        [
            heading("What a change costs", ["dvc", "onnxruntime"], "benchmarks/incremental.py"),
            table(["`dvc repro graph`", "seconds"], rows),
            "```console",
            *lines,
            "```",
            "",
        ]
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
