"""What every benchmark says of itself, and a scratch project to run stages in."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = (
    "arpgnet",
    "pipeline",
    "stages",
    "models",
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
)


def assets_folder(named: str | None) -> Path:
    """The folder with `clips/` and `weights/`: named, in ARPGNET_ASSETS, or beside the project.

    Exits with one line where it is absent.
    """
    beside = REPOSITORY.parent / "shared" / "assets"
    folder = Path(named or os.environ.get("ARPGNET_ASSETS", beside)).resolve()
    if not (folder / "clips").is_dir():
        sys.exit(f"error: no clips in {folder}: name the folder that has clips/ and weights/")
    return folder


def heading(title: str, packages: Sequence[str], script: str) -> str:
    """Title, date, hardware, versions and command of a result file."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    command = " ".join(["python", script, *map(shlex.quote, _shown_arguments())])
    return (
        f"# {title}\n\n"
        f"- Date: {datetime.date.today()}. Hardware: {_processor()}, "
        f"{len(os.sched_getaffinity(0))} cores, {_accelerator()}.\n"
        f"- Versions: {versions}.\n"
        f"- Command: `{command}`\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines) + "\n"


def write_out(text: str, out: Path | None) -> None:
    """Print the result, and keep it where that is asked for."""
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


class Project:
    """A scratch copy of the project with settings of its own and a store of its own."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        self.root = root
        self.store = root / "store"
        root.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, root / part, symlinks=True, ignore=ignored)
            else:
                shutil.copy(source, root / part)
        self.set(settings)

    def set(self, settings: dict[str, Any]) -> None:
        """Change settings by dotted key."""
        yaml = YAML()
        path = self.root / "params.yaml"
        loaded = yaml.load(path.read_text(encoding="utf-8"))
        for dotted, value in settings.items():
            *parents, key = dotted.split(".")
            node = loaded
            for parent in parents:
                node = node[parent]
            node[key] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(loaded, file)

    @property
    def environment(self) -> dict[str, str]:
        tools = Path(sys.executable).parent
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "benchmark"), ("EMAIL", "benchmark@example.org"))
        }
        return {
            **os.environ,
            **identity,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "ARPGNET_STORE": str(self.store),
        }

    def run(self, *command: str) -> tuple[float, str]:
        """Wall seconds of a command run in the project, and what it printed.

        Raises:
            RuntimeError: it failed; with the end of what it printed.
        """
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}")
        return seconds, done.stdout

    def stage(self, name: str) -> tuple[float, str]:
        """One stage as DVC runs it."""
        return self.run(sys.executable, "-m", f"arpgnet.stages.{name}")


def _accelerator() -> str:
    # not at the top: most benchmarks need no torch
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _shown_arguments() -> list[str]:
    """The command line without folders of this machine."""
    return [Path(argument).name if os.sep in argument else argument for argument in sys.argv[1:]]
