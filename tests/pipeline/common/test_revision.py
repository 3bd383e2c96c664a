"""A DVC project in a subfolder of a Git repository, beside another one at its top."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from arpgnet.pipeline.common.revision import NotInRevision, UnknownRevision, checkout
from arpgnet.pipeline.predict.source import open_model
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest, write_manifest
from arpgnet.pipeline.tables.predictions import PREDICTIONS
from helpers import untrained_run
from helpers.in_process import arpgnet
from helpers.predictions_tables import write_run

DVC_YAML = """
stages:
  ingest: {cmd: "true", outs: [data/manifest.parquet]}
  finetune: {cmd: "true", outs: [artifacts/backbone]}
  train: {cmd: "true", outs: [artifacts/runs, artifacts/predictions.parquet]}
"""


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commits: one without the project, then one with its run."""
    top = tmp_path_factory.mktemp("mono")
    git(top, "init", "--quiet")
    with Repo.init(str(top)):
        (top / "dvc.yaml").write_text("stages: {}\n")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "another project")
    git(top, "tag", "before")
    root = untrained_run.write_run(top / "apps" / "emo")
    write_run(root, {0: {"s0-0"}, 1: {"s1-0"}})
    clips = read_manifest(root / MANIFEST).clips
    write_manifest(clips, root / MANIFEST, classes=untrained_run.CLASSES, dataset="folder")
    (root / "dvc.yaml").write_text(DVC_YAML)
    with Repo.init(str(root), subdir=True) as repo:
        repo.commit(force=True)
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "first run")
    return root


def test_compare_with_a_revision(project: Path) -> None:
    done = arpgnet("compare", "HEAD", "workspace", folder=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert "24 clips tested" in done.stdout


def test_model_of_a_revision(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert open_model("HEAD").classes == untrained_run.CLASSES


def test_the_folder_is_that_of_the_project(project: Path, tmp_path: Path) -> None:
    # through a link, and from a revision in which only the other project is there
    linked = tmp_path / "linked"
    linked.symlink_to(project)
    checkout("HEAD", linked, tmp_path / "a", [MANIFEST, PREDICTIONS])
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (project / MANIFEST).read_bytes()
    with pytest.raises(NotInRevision, match=r"^nothing\.txt$"):
        checkout("HEAD", project, tmp_path / "b", [Path("nothing.txt")])
    for rev, said in (
        ("before", "'before' has no DVC project in apps/emo"),
        ("nowhere", "nowhere"),
    ):
        with pytest.raises(UnknownRevision, match=said):
            checkout(rev, project, tmp_path / "c", [MANIFEST])


def test_the_cache_is_that_of_the_project(project: Path, tmp_path: Path) -> None:
    top = shutil.copytree(project.parents[1], tmp_path / "copy")
    shutil.rmtree(top / "apps/emo/.dvc/cache")
    done = arpgnet("compare", "HEAD", "workspace", folder=top / "apps/emo")
    assert done.returncode == 1
    assert "the predictions of 'HEAD' are not available" in done.stderr
