"""Whole runs on sets of action units, valence and arousal, with their presets, to their own metric.

The layouts are true, the clips rendered faces, and the codes the rendered truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arpgnet.pipeline.datasets.presets import read_preset
from arpgnet.pipeline.tables.manifest import MANIFEST, Manifest, read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS, read_target_predictions
from arpgnet.pipeline.tables.targets import TARGETS, read_targets
from helpers import rendered_units
from helpers.rendered_units import LEARNED
from helpers.support import REPOSITORY, Workspace
from helpers.whole_runs import SETTINGS, reproduce, sides

FRAMES = {"decode.sampling": "fps", "decode.fps": 12.5, "train.window": 8, "train.stride": 8}
Run = Callable[..., Workspace]
pytestmark = pytest.mark.usefixtures("module_store")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A workspace after the stages up to one on a preset, with tiny settings."""

    def whole(preset: str, root: Path, last: str = "evaluate", **settings: Any) -> Workspace:
        own = read_preset(str(REPOSITORY / f"params/{preset}.yaml"))
        wanted = {".".join(key): value for key, value in own.items()}
        wanted |= {"dataset.root": str(root), **SETTINGS, **FRAMES, **settings}
        return reproduce(Workspace(tmp_path / "project", wanted), last)

    return whole


def results(workspace: Workspace) -> tuple[dict[str, Any], Manifest]:
    metrics = json.loads((workspace.root / "reports/metrics.json").read_text())
    return metrics, read_manifest(workspace.root / MANIFEST)


def people_tested(workspace: Workspace, manifest: Manifest) -> dict[int, set[str | None]]:
    """Per fold whom it tests; nobody is on two sides."""
    subject = {clip.clip_id: clip.subject for clip in manifest.clips}
    found = {}
    for fold, of_clip in sides(workspace).items():
        people = {
            side: {subject[clip] for clip, other in of_clip.items() if other == side}
            for side in ("train", "val", "test")
        }
        assert not people["test"] & (people["train"] | people["val"])
        assert not people["train"] & people["val"]
        found[fold] = people["test"]
    return found


def assert_scored_as_annotated(workspace: Workspace, names: list[str]) -> int:
    """Every test prediction stands beside the annotation of its frame; returns how many do."""
    rows = read_target_predictions(workspace.root / PREDICTIONS)
    assert rows.names == names
    rows = rows.select((rows.split == "test") & (rows.model == NETWORK))
    table = read_targets(workspace.root / TARGETS).columns(names)
    annotated = {
        (name, int(frame)): values
        for name, frame, values in zip(table.clip_id, table.frame_index, table.values, strict=True)
    }
    for name, frame, target in zip(rows.clip_id, rows.frame_index, rows.target, strict=True):
        np.testing.assert_array_equal(target, annotated[name, int(frame)])
    return len(rows.clip_id)


def in_order(score: dict[str, float], low: float = 0.0) -> bool:
    return low <= score["ci_low"] <= score["mean"] <= score["ci_high"] <= 1


@pytest.mark.slow
def test_bp4d_by_its_three_parts(run: Run, tmp_path: Path) -> None:
    tasks = ["F001_T1", "F002_T4", "F003_T1", "M002_T2", "F004_T1", "M003_T8"]
    coded = rendered_units.write_bp4d(tmp_path / "bp4d", tasks, "Sequences")
    workspace = run("bp4d", tmp_path / "bp4d", "report", **{"task.targets": LEARNED})
    metrics, manifest = results(workspace)
    assert people_tested(workspace, manifest) == {
        0: {"F001", "F002"}, 1: {"F003", "M002"}, 2: {"F004", "M003"},
    }  # fmt: skip
    assert in_order(metrics["f1"])
    assert set(metrics["per_output"]) == set(LEARNED)
    assert (metrics["folds"], metrics["coverage"]["mean"]) == (3, 1.0)
    # each coded frame of every clip is tested once
    assert metrics["frames"] == coded == assert_scored_as_annotated(workspace, LEARNED)
    page = (workspace.root / "reports/index.html").read_text()
    assert "3 folds of subjects, the usual parts P1, P2, P3" in page


@pytest.mark.slow
def test_bp4dplus_by_the_four_published_lists(run: Run, tmp_path: Path) -> None:
    tasks = ["F004_T1", "F012_T6", "F001_T7", "M058_T8"]
    coded = rendered_units.write_bp4d(tmp_path / "plus", tasks, "2D+3D", start=1)
    settings = {"task.targets": LEARNED, "train.folds": [0, 3]}
    workspace = run("bp4dplus", tmp_path / "plus", **settings)
    metrics, manifest = results(workspace)
    assert people_tested(workspace, manifest) == {
        0: {"F004"}, 1: {"F012"}, 2: {"F001"}, 3: {"M058"},
    }  # fmt: skip
    assert in_order(metrics["f1"])
    assert metrics["folds"] == 2
    assert 0 < assert_scored_as_annotated(workspace, LEARNED) < coded
    # code 3 is the third image
    targets = read_targets(workspace.root / TARGETS)
    assert targets.frame_index.min() == 2


@pytest.mark.slow
def test_disfa_by_its_three_parts(run: Run, tmp_path: Path) -> None:
    total = rendered_units.write_disfa(tmp_path / "disfa", [1, 2, 6, 11, 3, 4])
    workspace = run("disfa", tmp_path / "disfa", **{"task.targets": LEARNED})
    metrics, manifest = results(workspace)
    assert people_tested(workspace, manifest) == {
        0: {"SN001", "SN002"}, 1: {"SN006", "SN011"}, 2: {"SN003", "SN004"},
    }  # fmt: skip
    assert in_order(metrics["f1"])
    assert metrics["frames"] == total == assert_scored_as_annotated(workspace, LEARNED)


@pytest.mark.slow
def test_disfaplus_leaves_each_person_out_and_learns_intensities(run: Run, tmp_path: Path) -> None:
    total = rendered_units.write_disfaplus(tmp_path / "plus", [1, 3, 4])
    names = [f"{name}_intensity" for name in LEARNED]
    settings = {"task.kind": "intensity", "task.targets": names}
    workspace = run("disfaplus", tmp_path / "plus", **settings)
    metrics, manifest = results(workspace)
    assert people_tested(workspace, manifest) == {0: {"SN001"}, 1: {"SN003"}, 2: {"SN004"}}
    assert in_order(metrics["icc"], -1.0)
    assert 0 <= metrics["mae"]["mean"] <= 5
    assert metrics["frames"] == total == assert_scored_as_annotated(workspace, names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "kind", "score", "names"),
    [
        ("affwild2-au", "au", "f1", LEARNED),
        ("affwild2-va", "va", "ccc", ["valence", "arousal"]),
    ],
)
def test_affwild2_scores_every_annotated_frame(
    run: Run, tmp_path: Path, preset: str, kind: str, score: str, names: list[str]
) -> None:
    annotated = rendered_units.write_affwild2(tmp_path / "affwild2")
    workspace = run(preset, tmp_path / "affwild2", **{"task.targets": names})
    metrics, manifest = results(workspace)
    assert in_order(metrics[score], -1.0)
    assert (metrics["clips"], metrics["folds"]) == (1, 1)
    assert metrics["frames"] == annotated[kind] == assert_scored_as_annotated(workspace, names)
    assert {clip.faces for clip in manifest.clips} == {"aligned"}
