"""A small copy of the repository that a test may run, change and break."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]
PARTS = (
    "arpgnet",
    "pipeline",
    "stages",
    "models",
    "comparisons",
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
)
BIN = Path(sys.executable).parent

# the whole pipeline in well under a minute: enough to learn something, too little for a good metric
TINY = {
    "dataset.demo.subjects": 4,
    "dataset.demo.clips_per_class": 1,
    "dataset.demo.frame_px": 192,
    "dataset.demo.fps": 12.5,
    "dataset.folds": 2,
    "dataset.val_fraction": 0.5,
    "decode.frames": 4,
    "fusion.width": 32,
    "relation.layers": 1,
    "fusion.layers": 1,
    "train.epochs": 3,
    "train.min_steps": 1,
    "train.seeds": [0],
    "evaluate.bootstrap": 100,
    "report.faces": 8,
}


def free_port(ip: str = "127.0.0.1") -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind((ip, 0))
        return int(free.getsockname()[1])


class Workspace:
    """A copy of the project in a folder of its own, with git and DVC ready."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        self.root = root
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, root / part, symlinks=True, ignore=ignored)
            else:
                shutil.copy(source, root / part)
        (root / ".dvc").mkdir()
        shutil.copy(REPOSITORY / ".dvc/config", root / ".dvc/config")
        shutil.copytree(REPOSITORY / ".dvc/plots", root / ".dvc/plots")
        self.set(settings)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "start")

    def set(self, settings: dict[str, Any]) -> None:
        """Change settings by dotted key."""
        path = self.root / "params.yaml"
        yaml = YAML()
        loaded = yaml.load(path.read_text())
        for dotted, value in settings.items():
            *parents, key = dotted.split(".")
            node = loaded
            for parent in parents:
                node = node[parent]
            node[key] = value
        with path.open("w") as file:
            yaml.dump(loaded, file)

    @property
    def environment(self) -> dict[str, str]:
        """For commands that are run in the workspace."""
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
            # workspaces with equal files have equal commits: the report names the commit
            "GIT_AUTHOR_DATE": "1767268800 +0000", "GIT_COMMITTER_DATE": "1767268800 +0000",
        }  # fmt: skip

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the workspace with the interpreter's own tools first."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def outputs(self) -> dict[str, str]:
        """Path -> sha256 of every file the stages wrote."""
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in ("data", "artifacts", "reports")
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, check=check)

    def stage(self, name: str) -> subprocess.CompletedProcess[str]:
        """One stage as DVC runs it, its exit status left to the caller."""
        return self.run("python", "-m", f"arpgnet.stages.{name}", check=False)
