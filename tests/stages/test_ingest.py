"""The stage as a program: its summary, its exit status, and how little a second run loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tiny_videos import write_video

STAGE = Path(__file__).parents[2] / "stages" / "ingest.py"


@pytest.fixture
def project(tmp_path):
    """A folder with settings and a small data set in it."""
    for subject in range(3):
        for number, label in enumerate(("fear", "joy")):
            write_video(tmp_path / f"videos/{label}/s{subject}.mp4", 10 * subject + number)
    rows = [f"{label}/s{s}.mp4,{label},s{s}" for s in range(3) for label in ("fear", "joy")]
    (tmp_path / "videos/labels.csv").write_text("path,label,subject\n" + "\n".join(rows))
    (tmp_path / "params.yaml").write_text(
        "dataset: {name: csv, root: videos, manifest: labels.csv, protocol: loso}\n"
    )
    return tmp_path


def stage(folder: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(STAGE.parents[1])}
    return subprocess.run(
        [sys.executable, *options, str(STAGE)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_summary_and_a_light_second_run(project):
    (project / "videos/joy/s2.mp4").write_bytes(b"")
    first = stage(project)
    assert first.returncode == 0, first.stderr
    assert first.stdout == (
        "csv: 6 clips of 2 classes (fear, joy), 3 subjects, loso with 3 folds\n"
        "1 quarantined: 1 the file is empty\n"
    )
    written = files(project / "data")
    assert {path.name for path in written} >= {"manifest.parquet", "embedding.json", "stills.json"}
    second = stage(project, "-X", "importtime")
    assert second.stdout == first.stdout
    assert files(project / "data") == written
    loaded = {line.rpartition("|")[2].strip() for line in second.stderr.splitlines()}
    assert loaded & {"av", "sklearn", "torch"} == set()


def test_experiment_in_a_temporary_workspace(project):
    inner = project / ".dvc" / "tmp" / "exps" / "standalone" / "tmpa1"
    inner.mkdir(parents=True)
    (inner / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    assert stage(project).returncode == 0
    assert stage(inner).returncode == 0
    for name in ("manifest", "splits", "frame_labels"):
        table = Path("data") / f"{name}.parquet"
        assert (inner / table).read_bytes() == (project / table).read_bytes()


def test_a_mistake_is_one_line(project):
    (project / "videos/labels.csv").write_text("path,emotion\na.mp4,x\n")
    done = stage(project)
    assert done.returncode == 1
    assert done.stderr == (
        "error: dataset.manifest: labels.csv has no column 'label' "
        "(found: path, emotion); rename 'emotion' to 'label'?\n"
    )
    assert not (project / "data").exists()
