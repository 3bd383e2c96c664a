"""Run one ablation as a DVC experiment, unless it is finished.

Each is a `dvc exp run --temp`, not a task in DVC's queue: the queue's workers are separate
processes that continue after Ctrl-C, start whatever else is queued, and fail silently
(treeverse/dvc#10673, #10779); this way the output and the reason of a failure are available.
Training that an earlier run of the same data, settings and code has finished comes from the store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from arpgnet.pipeline.ablate.rows import Row
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.revision import UnknownRevision, repository_at
from arpgnet.pipeline.common.user import require_dvc

# the stages from an aligned face to a prediction
DECIDING = ("appearance", "graph", "train")
# dependencies that these stages make themselves: their own dependencies stand for them
MADE = frozenset({"data/appearance", "data/graphs"})
LOCK = "dvc.lock"
LOGS = Path(".dvc/tmp/ablate")


def check_base(root: Path) -> None:
    """The rows are compared with the workspace's run: it must be there and up to date.

    Raises:
        UserError: no git commit, or the stages up to training must run first.
    """
    require_dvc()
    if _run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], root).returncode:
        raise UserError("DVC experiments need a git commit: `git add . && git commit` first")
    done = _run(dvc("status", "--json", "--with-deps", "train"), root)
    if done.returncode:
        raise UserError(f"`dvc status` failed: {reason(done.stdout)}")
    found: dict[str, list[Any]] = YAML(typ="safe").load(done.stdout.strip().splitlines()[-1])
    stale = [stage for stage, notes in found.items() if notes != ["always changed"]]
    if stale:
        raise UserError(
            f"the full network's run is not up to date ({', '.join(stale)}): run `dvc repro` first"
        )


def is_finished(row: Row, root: Path) -> bool:
    """Whether the experiment exists, made by the row's settings, this data and this code."""
    theirs = _lock_of(row.experiment, root)
    if theirs is None:
        return False
    ours = YAML(typ="safe").load((root / LOCK).read_text(encoding="utf-8"))
    return deciding(theirs) == deciding(ours, row.settings)


def _lock_of(experiment: str, root: Path) -> dict[str, Any] | None:
    try:
        with repository_at(experiment, root) as repo:
            lock: dict[str, Any] = YAML(typ="safe").load(repo.dvcfs.read_text(LOCK))
            return lock
    except (UnknownRevision, OSError):
        return None


def deciding(lock: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> Any:
    """Collect settings and checksums that decide a row's predictions, with the row's settings."""
    found = {}
    for stage in DECIDING:
        entry = lock.get("stages", {}).get(stage)
        if entry is None:
            return None
        params = _flat(entry["params"]["params.yaml"])
        params |= {key: value for key, value in (settings or {}).items() if key in params}
        deps = {dep["path"]: dep["md5"] for dep in entry["deps"] if dep["path"] not in MADE}
        found[stage] = (params, deps)
    return found


def _flat(node: Mapping[str, Any], trail: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{trail}{key}.")
        else:
            flat[f"{trail}{key}"] = value
    return flat


def run_experiment(row: Row, root: Path) -> str | None:
    """Run the row up to `evaluate` in a folder of its own.

    Returns:
        None, or why it failed; the whole output is under `LOGS`.
    """
    # DVC refuses to replace an experiment of this name and commit; older ones may stay
    if row.experiment in _run(dvc("exp", "list", "--name-only"), root).stdout.split():
        _run(dvc("exp", "remove", row.experiment), root)
    settings = [part for pair in row.settings.items() for part in ("-S", override(*pair))]
    command = dvc("--wait-for-lock", "exp", "run", "--temp", "--name", row.experiment)
    done = _run([*command, *settings, "evaluate"], root)
    log = root / LOGS / f"{row.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout, encoding="utf-8")
    return reason(done.stdout) if done.returncode else None


def override(dotted: str, value: Any) -> str:
    """Format `key=value` for `dvc exp run -S`."""
    if value is None:
        text = "null"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list):
        text = f"[{','.join(map(str, value))}]"
    else:
        text = str(value)
    return f"{dotted}={text}"


def reason(output: str) -> str:
    """Find the line of a failed command's output that says why: the stage's, else DVC's first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in ("error: ", "ERROR: "):
        for line in lines:
            if line.startswith(mark):
                return line.removeprefix(mark)
    return lines[-1] if lines else "no output"


def dvc(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _run(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    # the stages call `python`: it must be this one, even if no environment is activated
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def render_report(root: Path) -> None:
    """Run the stage `report` alone.

    Raises:
        UserError: it fails.
    """
    done = _run(dvc("repro", "--single-item", "report"), root)
    if done.returncode:
        raise UserError(f"the report could not be written: {reason(done.stdout)}")
