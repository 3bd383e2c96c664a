"""Data sets of true size: how long until they are in the manifest, and how much memory it takes.

    python benchmarks/ingest.py [--sets afew affwild2 dfew ferv39k] [--scale 1] [--root DIR]
        [--keep] [--out FILE]

Trees of tiny images (`tiny_trees.py`), two workers. The references run in the same minutes on the
same files, as two processes: `sha256sum` of every image (what a first run cannot do without), and
`find` with lengths and times (what a second one cannot).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from common import Project, heading, table, write_out
from tiny_trees import SETS, Writer, inodes

WORKERS = 2
HASH = 'find "$@" -type f -exec sha256sum {} + > /dev/null'
LIST = "find \"$@\" -type f -printf '%p %s %T@\\n' > /dev/null"


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock, of all processors, and MB (resident, all processes together)."""

    wall_s: float
    cpu_s: float
    memory_mb: float

    def row(self, *name: str) -> list[str]:
        return [*name, f"{self.wall_s:.1f}", f"{self.cpu_s:.1f}", f"{self.memory_mb:.0f}"]


def watch(project: Project, *command: str, given: bytes = b"") -> Cost:
    """What a command costs.

    Memory is the largest sum, over the processes that live at one time, of the most that each
    has held so far: what falls between two looks (10 a second) is not missed, and pages that are
    shared count in each.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    before, start = _cpu_s(), time.perf_counter()
    log = project.root / "log"
    source = project.root / "given"
    source.write_bytes(given)
    with log.open("wb") as out, source.open("rb") as stdin:
        process = subprocess.Popen(
            command, cwd=project.root, env=project.environment, stdin=stdin, stdout=out, stderr=out
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_most_held(pid) for pid in _tree(process.pid)))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(log.read_text(errors="replace")[-2000:])
    return Cost(time.perf_counter() - start, _cpu_s() - before, peak / 1e6)


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


def _most_held(pid: int) -> int:
    """Peak resident bytes of a process so far; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _cpu_s() -> float:
    """Of all processes below us that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(name: str, place: Path, scale: float) -> list[list[str]]:
    """Make a tree, ingest it three times, and hash and list the same files."""
    tree, start = place / name, time.perf_counter()
    write = Writer(tree)
    SETS[name](write, scale)
    write.close()
    what = f"{name}: {len(write.folders):,} clips, {write.images:,} images"
    print(f"{what}, made in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    chosen = {
        "dataset.name": name,
        "dataset.root": str(tree),
        "faces.source": "aligned",
        "engine.workers": WORKERS,
    }
    project = Project(place / f"{name}_project", chosen)
    paths = "\0".join(map(str, write.folders)).encode()
    each = ("xargs", "-0", "-P", str(WORKERS), "-n", "8", "sh", "-c")
    ingest = (sys.executable, "-m", "arpgnet.stages.ingest")
    steps = {
        "listing alone": lambda: watch(project, *each, LIST, "sh", given=paths),
        "hashing alone": lambda: watch(project, *each, HASH, "sh", given=paths),
        "ingest": lambda: watch(project, *ingest),
        "ingest, nothing changed": lambda: watch(project, *ingest),
        "ingest, one image changed": lambda: _changed(write, project, ingest),
    }
    rows = []
    for step, run in steps.items():
        rows.append(run().row(what, step))
        print(*rows[-1][1:], file=sys.stderr, flush=True)
    return rows


def _changed(write: Writer, project: Project, ingest: tuple[str, ...]) -> Cost:
    folder = write.folders[0]
    last = max(folder.iterdir())
    last.unlink()  # it may be a link
    last.write_bytes(write.jpeg())
    return watch(project, *ingest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--scale", type=float, default=1.0, help="1: true size")
    parser.add_argument("--root", type=Path, help="folder for the trees; a temporary one if absent")
    parser.add_argument("--keep", action="store_true", help="leave the trees there")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.root is not None:
        args.root.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="ingest_", dir=args.root))
    try:
        _enough(place, args.scale, args.sets)
        rows = []
        for name in args.sets:
            rows += measure(name, place, args.scale)
            if not args.keep:
                shutil.rmtree(place / name)
    finally:
        if not args.keep:
            shutil.rmtree(place)
    text = "\n".join(
        [
            heading(
                "Data sets of true size in the manifest",
                ["pyarrow", "numpy", "opencv-python", "scikit-learn"],
                "benchmarks/ingest.py",
            ),
            table(["what", "step", "wall, s", "CPU, s", "peak memory, MB"], rows),
        ]
    )
    write_out(text, args.out)


def _enough(place: Path, scale: float, sets: list[str]) -> None:
    """Exits with one line where the folder has no room for the largest tree."""
    free, needed = os.statvfs(place), inodes(scale, sets)
    space = free.f_bavail * free.f_frsize
    # a block an inode, and 100 MB of names
    wanted = needed * 4096 + int(scale * 100e6)
    print(
        f"{place}: {free.f_favail:,} inodes free, about {needed:,} needed; "
        f"{space / 1e9:.1f} GB free, {wanted / 1e9:.1f} needed",
        file=sys.stderr,
    )
    # some file systems have no fixed number of inodes and say 0
    if (free.f_files and free.f_favail < needed) or space < wanted:
        sys.exit(f"error: no room for the trees in {place}: name another folder with --root")


if __name__ == "__main__":
    main()
