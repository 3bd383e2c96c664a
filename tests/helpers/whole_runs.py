"""All stages, called one after the other in this process, and what they ended in."""

from __future__ import annotations

import html
import json
from typing import Any

from ruamel.yaml import YAML

from arpgnet.pipeline.tables.manifest import MANIFEST, SPLITS, Manifest, read_manifest, read_splits
from helpers import in_process
from helpers.support import REPOSITORY, TINY, Workspace

SETTINGS = {
    **{name: value for name, value in TINY.items() if name.startswith(("fusion.", "relation."))},
    "faces.pack": "demo",
    "decode.frames": 4,
    "dataset.val_fraction": 0.34,
    "train.epochs": 2,
    "train.min_steps": 1,
    "train.seeds": [0],
    "evaluate.bootstrap": 100,
    "report.faces": 8,
    # each worker of each stage costs a second to start
    "engine.workers": 1,
}
STAGES = list(YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"])


def reproduce(workspace: Workspace, last: str = STAGES[-1]) -> Workspace:
    """Run all stages, or those up to one, as DVC would."""
    for name in STAGES[: STAGES.index(last) + 1]:
        done = in_process.stage(name, workspace.root)
        assert done.returncode == 0, done.stderr
    return workspace


def results(workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any], str, Manifest]:
    """metrics.json, evaluation.json, the page as a reader sees its text, and the manifest."""
    reports = workspace.root / "reports"
    return (
        json.loads((reports / "metrics.json").read_text()),
        json.loads((reports / "evaluation.json").read_text()),
        " ".join(html.unescape((reports / "index.html").read_text()).split()),
        read_manifest(workspace.root / MANIFEST),
    )


def in_order(score: dict[str, float]) -> bool:
    return 0 <= score["ci_low"] <= score["mean"] <= score["ci_high"] <= 1


def sides(workspace: Workspace) -> dict[int, dict[str, str]]:
    """Per fold the side of each clip."""
    found: dict[int, dict[str, str]] = {}
    for row in read_splits(workspace.root / SPLITS).to_pylist():
        found.setdefault(row["fold"], {})[row["clip_id"]] = row["split"]
    return found
