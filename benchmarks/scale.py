"""What a clip and a frame cost in every stage, on one core and on two; and what that predicts.

    python benchmarks/scale.py [ASSETS] [--rounds 2] [--times 12] [--out FILE]

Real clips (`clips/asl`, 640 x 480) with SCRFD-2.5G, PFLD-98 and MobileFaceNet, the networks of
`preprocess.py`. Fitted (`cost_model.py`) on runs of 10 and 20 clips, short and long ones, 16 frames
of each and all frames, the quickest of all rounds; checked on `--times` times 20 clips; then asked
about data sets of the field on 1, 16 and 256 machines like this one. Bytes are those that all
processes of a stage read and write through the system, its libraries' too. `dvc commit` of the
largest run's outputs shows what DVC adds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import av
from common import Project, assets_folder, heading, table, write_out
from cost_model import (
    CLIPS,
    FRAMES,
    LONGEST,
    LOOKS,
    PASSED,
    PLAIN,
    START,
    STORAGE,
    Amount,
    Cost,
    Run,
    quickest,
)
from memory import settings
from preprocess import asl_clips, write_clips, write_pack

from arpgnet.pipeline.tables.shards import ShardReader

OUTPUT_FOLDERS = {
    "decode": "frames",
    "align": "faces",
    "landmark": "landmarks",
    "appearance": "appearance",
    "graph": "graphs",
}
COLUMNS = dict.fromkeys(OUTPUT_FOLDERS, PLAIN) | {
    "decode": (*PLAIN, PASSED),
    "align": (*PLAIN, LOOKS),
}
# of one process; the settings below say how much they are to do
AFTER = ("train", "evaluate", "explain", "report")
EPOCHS, FOLDS = 10, 2
FPS, MAX_INTERPOLATION_S = 30.0, 0.14
ALL, FEW = None, 16
NODES = (1, 16, 256)
SETS = {
    name: Amount.of(*counts, fps=FPS, max_interpolation_s=MAX_INTERPOLATION_S)
    for name, counts in {
        "AFEW, 16 frames per clip": (1_156, 16 * 1_156, 100_048),
        "DFEW, 16 frames per clip": (16_372, 16 * 16_372, 60 * 16_372),
        "Aff-Wild2, all frames": (548, 2_700_000, 2_700_000),
        "100 million frames": (20_000, 100_000_000, 100_000_000),
    }.items()
}


class Bench:
    """Runs projects and keeps what they cost."""

    def __init__(self, root: Path, pack: Path) -> None:
        self.root, self.pack = root, pack
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.single: list[tuple[Amount, dict[str, float]]] = []
        # of the last run: seconds of `dvc commit`, and bytes
        self.dvc = 0.0, 0

    def run(
        self, sources: list[Path], repeat: int, frames: int | None, workers: int, after: bool
    ) -> None:
        """Every stage from nothing, then twice more with all results in the store.

        Args:
            after: the stages of one process too.
        """
        clips = write_clips(sources, self.root / "clips", repeat)
        project = Project(self.root / "project", self._settings(clips, frames, workers))
        ingest, _, _ = _measured(project, "ingest")
        project.stage("finetune")
        cold = {stage: _measured(project, stage) for stage in OUTPUT_FOLDERS}
        warm = {stage: min(_measured(project, stage) for _ in range(2)) for stage in OUTPUT_FOLDERS}
        index = ShardReader(project.root / "data/frames")
        kept = sum(index.entry(clip).rows for clip in index.clip_ids)
        passed = repeat * sum(map(_length, sources))
        amount = Amount.of(
            len(index.clip_ids), kept, passed, fps=FPS, max_interpolation_s=MAX_INTERPOLATION_S
        )
        for stage, (seconds, read, written) in cold.items():
            again, *moved = warm[stage]
            held = (
                _bytes(project.store / stage),
                _bytes(project.root / "data" / OUTPUT_FOLDERS[stage]),
            )
            run = Run(amount, workers, seconds, again, read, written, sum(moved), *held)
            self.runs[stage].append(run)
            print(stage, run, file=sys.stderr, flush=True)
        if after:
            seconds_of = {stage: project.stage(stage)[0] for stage in AFTER}
            self.single.append((amount, {"ingest": ingest} | seconds_of))
        self.dvc = _committed(project)
        shutil.rmtree(project.root)
        shutil.rmtree(clips.parent)

    def _settings(self, manifest: Path, frames: int | None, workers: int) -> dict[str, Any]:
        return settings(
            manifest,
            dataset__folds=FOLDS,
            decode__sampling="all" if frames is None else "uniform",
            decode__frames=frames or 16,
            align__max_interpolation_s=MAX_INTERPOLATION_S,
            faces__pack=str(self.pack),
            engine__workers=workers,
            train__epochs=EPOCHS,
            train__patience=EPOCHS,
            train__seeds=[0],
        )


def _measured(project: Project, stage: str) -> tuple[float, int, int]:
    """Seconds of a stage, and the bytes that all its processes read and wrote."""
    before = _traffic()
    seconds, _ = project.stage(stage)
    read, written = (now - then for now, then in zip(_traffic(), before, strict=True))
    return seconds, read, written


def _committed(project: Project) -> tuple[float, int]:
    """Return the seconds that DVC takes to hash and cache the outputs, and their bytes."""
    project.run(sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm")
    command = (sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *OUTPUT_FOLDERS)
    first, second = (project.run(*command)[0] for _ in range(2))
    return first - second, sum(
        _bytes(project.root / "data" / out) for out in OUTPUT_FOLDERS.values()
    )


def _traffic() -> tuple[int, int]:
    """Of this process and of all that it, and they, have waited for."""
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"])


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _length(video: Path) -> int:
    """Its frames."""
    with av.open(str(video)) as opened:
        return sum(bool(packet.size) for packet in opened.demux(video=0))


def cost_table(costs: dict[str, Cost]) -> str:
    rows = []
    for stage, cost in costs.items():
        milliseconds = [
            *(1e3 * cost.compute.each[column] for column in (CLIPS, FRAMES, PASSED, LOOKS)),
            *(1e3 * cost.write.each[column] for column in (CLIPS, FRAMES)),
        ]
        lines = (cost.read, cost.written, cost.again, cost.kept, cost.out)
        kilobytes = [line.each[FRAMES] / 1e3 for line in lines]
        rows.append(
            [
                stage,
                f"{cost.write.each[START] + cost.start:.1f}",
                *(f"{value:.2f}" for value in milliseconds[:4]),
                f"{cost.speedup:.2f}",
                *(f"{value:.2f}" for value in milliseconds[4:]),
                *(f"{value:.1f}" for value in kilobytes),
            ]
        )
    header = [
        "stage", "start, s",
        "workers, 1 core: ms a clip", "a frame", "a passed frame", "a look",
        "2 cores: times as fast",
        "look up: ms a clip", "write, one process: ms a frame",
        "kB a frame: read", "written", "of both, to write the output", "in the store",
        "in the output",
    ]  # fmt: skip
    return table(header, rows)


def check_table(costs: dict[str, Cost], runs: dict[str, list[Run]]) -> str:
    """Predicted against measured, of runs that were not fitted."""
    rows = []
    for number, first in enumerate(next(iter(runs.values()))):
        parts = {stage: found[number] for stage, found in runs.items()}
        expected = {s: costs[s].seconds(run.amount, run.workers) for s, run in parts.items()}
        what = f"{first.amount.clips} clips, {first.amount.frames} frames, {first.workers} core(s)"
        for stage, run in parts.items():
            rows.append(_compared(what, stage, expected[stage], run.cold))
        measured = sum(run.cold for run in parts.values())
        rows.append(_compared(what, "**all**", sum(expected.values()), measured))
    return table(["run", "stage", "predicted, s", "measured, s", "predicted / measured"], rows)


def _compared(what: str, stage: str, expected: float, measured: float) -> list[str]:
    return [what, stage, f"{expected:.1f}", f"{measured:.1f}", f"{expected / measured:.2f}"]


def prediction_table(costs: dict[str, Cost], dvc: float) -> str:
    """
    Args:
        dvc: its seconds a byte.
    """
    rows = []
    for name, amount in SETS.items():
        # the output lies in DVC's cache too
        kept = sum(cost.kept.of(amount) + 2 * cost.out.of(amount) for cost in costs.values())
        for nodes in NODES:
            total: dict[str, float] = defaultdict(float)
            for cost in costs.values():
                for part, seconds in cost.parts(amount, nodes, dvc=dvc).items():
                    total[part] += seconds
            whole = sum(total.values())
            slowest = sorted(total, key=lambda part: -total[part])[:2]
            share = ", ".join(f"{part} ({total[part] / whole:.0%})" for part in slowest)
            rows.append([name, nodes, _long(whole), share, f"{kept / 1e9:,.1f}"])
    return table(
        ["data set", "nodes of 2 cores", "decode to graph", "what takes the time", "GB kept"], rows
    )


def _long(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", nargs="?")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=12)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    assets = assets_folder(args.assets)
    clips = sorted(asl_clips(assets), key=_length)
    short, long = clips[: len(clips) // 2], clips[len(clips) // 2 :]
    with tempfile.TemporaryDirectory() as scratch:
        pack = write_pack(assets, Path(scratch) / "pack")
        fitted, larger = Bench(Path(scratch), pack), Bench(Path(scratch), pack)
        for _ in range(args.rounds):
            for workers in (1, 2):
                for sources, repeat, frames in (
                    (short, 1, ALL),
                    (short, 2, FEW),
                    (long, 2, FEW),
                    (short, 2, ALL),
                    (long, 2, ALL),
                ):
                    fitted.run(sources, repeat, frames, workers, after=False)
        for frames, workers in ((16, 1), (16, 2), (ALL, 2)):
            larger.run(clips, args.times, frames, workers, after=(frames, workers) == (16, 2))
    best = {stage: quickest(runs) for stage, runs in fitted.runs.items()}
    costs = {stage: Cost.fit(runs, COLUMNS[stage]) for stage, runs in best.items()}
    single = [
        [amount.clips, amount.frames, *(f"{seconds:.1f}" for seconds in found.values())]
        for amount, found in larger.single
    ]
    seconds, size = larger.dvc
    dvc = seconds / size
    text = "\n".join(
        [
            heading(
                "What a clip and a frame cost, and what that predicts",
                ["torch", "onnxruntime", "pyarrow", "av"],
                "benchmarks/scale.py",
            ),
            f"Fitted on {args.rounds} rounds of runs of at most 20 clips:\n",
            cost_table(costs),
            f"Checked on {args.times} times as many clips:\n",
            check_table(costs, larger.runs),
            f"Stages of one process, seconds ({FOLDS} folds, 1 seed, {EPOCHS} epochs, 2 cores):\n",
            table(["clips", "frames", "ingest", *AFTER], single),
            f"DVC hashed and copied {size / 1e9:.1f} GB of outputs in {seconds:.1f} s: "
            f"{1e9 * dvc:.1f} s a GB.\n",
            f"Predicted, with DVC, for storage that gives {STORAGE / 1e9:g} GB a second to all "
            f"machines together, and a longest video of {LONGEST} times the mean length (DFEW: 60 "
            "frames per clip assumed; 100 million frames: 20,000 videos):\n",
            prediction_table(costs, dvc),
        ]
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
